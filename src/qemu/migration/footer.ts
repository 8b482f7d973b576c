import { viewOf } from "../../binary/layout.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { SECTION } from "./layout.js";

/** A section of unknown form longer than this is not searched through. */
const LARGEST_UNKNOWN = 16 << 20;
const FOOTER = 5;
/** Octets behind a footer that show whether a section follows: type, id, length of the name and a letter of it. */
const NEXT = 7;

/**
 * Octets from the reader's place to the footer of section `id`: the first place where the footer's octets stand
 * and what follows is a section's begin, the stream's end, or nothing. Undefined when there is none.
 */
export async function findFooter(reader: ByteReader, id: number): Promise<number | undefined> {
  let from = 0;
  for (let size = 4096; ; size = Math.min(size * 4, LARGEST_UNKNOWN)) {
    const ready = reader.need(size);
    const whole = ready === true || (await ready);
    const bytes = reader.peek(size);
    const view = viewOf(bytes);
    const last = whole ? bytes.length - FOOTER - NEXT : bytes.length - FOOTER;
    for (; from <= last; from += 1) {
      if (bytes[from] !== SECTION.footer || view.getUint32(from + 1) !== id) continue;
      if (isBegin(bytes.subarray(from + FOOTER))) return from;
    }
    if (!whole || size === LARGEST_UNKNOWN) return undefined;
  }
}

function isBegin(bytes: Uint8Array): boolean {
  const type = bytes[0];
  switch (type) {
    case undefined:
      return true;
    case SECTION.eof:
      return bytes.length === 1 || bytes[1] === SECTION.description;
    case SECTION.start:
    case SECTION.full: {
      const letter = bytes[6] ?? 0x61;
      return bytes[5] !== 0 && letter > 0x20 && letter < 0x7f;
    }
    case SECTION.part:
    case SECTION.end:
      // a section's number is small
      return bytes[1] === 0 && bytes[2] === 0;
    case SECTION.command:
      return bytes[1] === 0;
    default:
      return false;
  }
}
