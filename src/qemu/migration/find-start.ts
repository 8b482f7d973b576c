import { viewOf } from "../../binary/layout.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { QEVM_MAGIC, QEVM_VERSION, SECTION } from "./layout.js";

/** A management program's room in front of a stream (`file:F,offset=N`) is small. */
const FARTHEST = 1 << 20;
/** Offsets that programs choose are multiples of it. */
const STEP = 16;
/** After something else than zeros a stream is looked for at these steps, and so far only: disk images hold streams as well. */
const HEADER_STEP = 512;
const LARGEST_HEADER = 4096;
/** Magic, version and the type byte of the first section. */
const HEAD = 9;
const FIRST_SECTIONS: readonly number[] = [
  SECTION.configuration,
  SECTION.start,
  SECTION.full,
  SECTION.command,
];

/**
 * Where in a file a QEVM stream begins that isn't at its start, because a program left room in front of it for a
 * header of its own. Undefined when there is none in the first MiB.
 */
export async function findStreamStart(source: ByteSource): Promise<number | undefined> {
  const bytes = new Uint8Array(Math.min(source.size, FARTHEST + HEAD));
  const length = await readFully(source, 0, bytes);
  const view = viewOf(bytes);
  const content = bytes.findIndex((byte) => byte !== 0);
  for (let at = 0; at + HEAD <= length; at += STEP) {
    if (at > content && (at % HEADER_STEP !== 0 || at > LARGEST_HEADER)) continue;
    if (
      view.getUint32(at) === QEVM_MAGIC &&
      view.getUint32(at + 4) === QEVM_VERSION &&
      FIRST_SECTIONS.includes(bytes[at + 8] ?? 0)
    )
      return at;
  }
  return undefined;
}
