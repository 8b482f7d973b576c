import { latin1, viewOf } from "../../binary/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { isName } from "./frame.js";
import { QEVM_MAGIC, QEVM_VERSION, SECTION } from "./layout.js";

/** A management program's room in front of a stream (`file:F,offset=N`) is small. */
const FARTHEST = 1 << 20;
/** Bytes of a name's length and of a name at most. */
const LONGEST_NAME = 255;
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
  const bytes = new Uint8Array(Math.min(source.size, FARTHEST + HEAD + LONGEST_NAME));
  const length = await readBefore(source, 0, bytes);
  const view = viewOf(bytes);
  for (let at = bytes.indexOf(MAGIC_START); at !== -1; at = bytes.indexOf(MAGIC_START, at + 1))
    if (at + HEAD <= length && isStart(bytes, view, at)) return at;
  return undefined;
}

/** `Q`: what a stream's first byte is. */
const MAGIC_START = QEVM_MAGIC >>> 24;

/** Bytes that `beginsStream` looks at. */
export const STREAM_HEAD = HEAD + 4 + LONGEST_NAME;

/** Whether bytes begin a stream: header, type of a first section, and of a configuration the machine's name. */
export function beginsStream(bytes: Uint8Array): boolean {
  return bytes.length >= HEAD && isStart(bytes, viewOf(bytes), 0);
}

/** The same at `at`. */
function isStart(bytes: Uint8Array, view: DataView, at: number): boolean {
  const type = bytes[at + 8] ?? 0;
  if (view.getUint32(at) !== QEVM_MAGIC || view.getUint32(at + 4) !== QEVM_VERSION) return false;
  if (type !== SECTION.configuration) return FIRST_SECTIONS.includes(type);
  if (at + HEAD + 4 > bytes.length) return false;
  const size = view.getUint32(at + HEAD);
  const name = latin1(bytes.subarray(at + HEAD + 4, at + HEAD + 4 + Math.min(size, LONGEST_NAME)));
  return size > 0 && size <= LONGEST_NAME && isName(name);
}
