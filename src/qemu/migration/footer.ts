import { viewOf } from "../../binary/layout.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { SECTION } from "./layout.js";

/** A section of unknown form longer than this is not searched through. */
const LARGEST_UNKNOWN = 16 << 20;
const FOOTER = 5;
/** Bytes after a footer that show whether a section follows: type, id, length of the name and a letter of it. */
const NEXT = 7;

/**
 * Bytes from the reader's place to the footer of section `id`: the first place where the footer's bytes are
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

/** Bytes of a section's head beside its name: type, id, length of the name, instance, version. */
const HEAD = 14;
/** Numbers of sections are given one after another; a few are skipped. */
const NEXT_IDS = 256;

/**
 * Bytes from the reader's place to where the section after section `id` begins, in device state that has neither
 * footers nor a description (QEMU's own form for Xen): the first place that has a whole head of a later section.
 * The last section reaches to the EOF byte at the input's end. Undefined when neither is there.
 */
export async function findNextHead(reader: ByteReader, id: number): Promise<number | undefined> {
  const ready = reader.need(LARGEST_UNKNOWN);
  if (ready === true || (await ready)) return undefined;
  const bytes = reader.peek(reader.available);
  for (let at = 0; at + HEAD < bytes.length; at += 1) {
    if (bytes[at] === SECTION.full && isHead(bytes.subarray(at), id)) return at;
  }
  return bytes.at(-1) === SECTION.eof ? bytes.length - 1 : undefined;
}

function isHead(bytes: Uint8Array, previous: number): boolean {
  const view = viewOf(bytes);
  const id = view.getUint32(1);
  const length = bytes[5] ?? 0;
  if (id <= previous || id > previous + NEXT_IDS || length === 0 || bytes.length < HEAD + length)
    return false;
  const name = bytes.subarray(6, 6 + length);
  // an instance is a small number or a PCI address, a version a small one
  return name.every((byte) => byte > 0x20 && byte < 0x7f) && view.getUint32(10 + length) < 256;
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
