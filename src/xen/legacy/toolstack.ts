import { viewOf } from "../../binary/layout.js";
import type { Cursor } from "./cursor.js";
import { PHYSMAP_ENTRY, PHYSMAP_SURPLUS, TOOLSTACK_HEAD, TOOLSTACK_VERSION } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";
import type { PhysmapEntry } from "../libxl/write.js";

/**
 * Decodes the body of a toolstack chunk that starts at `offset` of the stream.
 * @throws FormatError `legacy/toolstack/structure`
 */
export function decodeToolstack(body: Uint8Array, offset: number, cursor: Cursor): PhysmapEntry[] {
  const view = viewOf(body);
  const fail = (at: number, message: string): never =>
    cursor.fail(LEGACY_RULES.toolstack, offset + at, message);
  if (body.length < TOOLSTACK_HEAD.size) return fail(0, `${body.length} bytes hold no version and count`);
  const { version, count } = TOOLSTACK_HEAD.read(view, 0, "little");
  if (version !== TOOLSTACK_VERSION) return fail(0, `version ${version}, known is ${TOOLSTACK_VERSION}`);
  const entries: PhysmapEntry[] = [];
  let at = TOOLSTACK_HEAD.size;
  for (let i = 0; i < count; i += 1) {
    if (at + PHYSMAP_ENTRY.size > body.length) return fail(at, `${count} entries announced, ${i} held`);
    const { physOffset, startAddr, size, nameLength } = PHYSMAP_ENTRY.read(view, at, "little");
    at += PHYSMAP_ENTRY.size;
    if (at + nameLength + PHYSMAP_SURPLUS[cursor.width] > body.length) {
      return fail(at, `the name of entry ${i} takes ${nameLength} bytes, past the end of the chunk`);
    }
    if (nameLength > 0 && body[at + nameLength - 1] !== 0) {
      return fail(at, `the name of entry ${i} is not closed by a NUL`);
    }
    const name = nameLength === 0 ? undefined : body.slice(at, at + nameLength - 1);
    entries.push({ physOffset, startAddr, size, name });
    at += nameLength + PHYSMAP_SURPLUS[cursor.width];
  }
  if (at !== body.length) return fail(at, `${body.length - at} bytes after the last entry`);
  return entries;
}
