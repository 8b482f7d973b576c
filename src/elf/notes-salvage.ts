import { appendTo } from "../binary/arrays.js";
import { type ByteOrder, latin1, viewOf } from "../binary/layout.js";
import { trimNuls } from "../binary/text.js";
import { nhdr } from "./layout.js";
import type { ElfNote } from "./notes.js";
import { roundUp } from "../io/alignment.js";

/*
 * Notes follow one another at multiples of four bytes, and those of a machine's dump have few names. After a damaged one
 * the next place is looked for at which a note of a known name begins that another note, or the end, follows.
 */

/** Names of notes in dumps of machines. */
const KNOWN: ReadonlySet<string> = new Set([
  "CORE",
  "LINUX",
  "QEMU",
  "VMCOREINFO",
  "ERASEINFO",
  "GUESTSCOPE",
  "NONE",
  "GNU",
  "Xen",
  "VBCORE",
  "VBCPU",
]);
const LONGEST_NAME = 32;

/** Whether dumps of machines have notes of a name. */
export const isKnownNote = (name: string): boolean => KNOWN.has(name);

/** The notes that are left of damaged ones. */
export interface SalvagedNotes {
  /** A note that is lost among others of its kind is there without a descriptor. */
  readonly notes: readonly ElfNote[];
  /** Bytes in which no note was found, as offsets in the file; `end` exclusive. */
  readonly lost: readonly { readonly start: number; readonly end: number }[];
}

interface Head {
  readonly name: string;
  readonly type: number;
  readonly descriptorAt: number;
  readonly descriptorEnd: number;
  /** Where the next note begins. */
  readonly next: number;
}

const pad = (value: number): number => roundUp(value, 4);

class Walk {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #order: ByteOrder;

  constructor(bytes: Uint8Array, order: ByteOrder) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#order = order;
  }

  /** The note at an offset if its name is a known one, wherever its descriptor ends. */
  head(at: number): Head | undefined {
    if (at + nhdr.size > this.#bytes.length) return undefined;
    const { n_namesz, n_descsz, n_type } = nhdr.read(this.#view, at, this.#order);
    if (n_namesz < 2 || n_namesz > LONGEST_NAME) return undefined;
    const nameAt = at + nhdr.size;
    const name = trimNuls(latin1(this.#bytes.subarray(nameAt, nameAt + n_namesz)));
    if (!KNOWN.has(name)) return undefined;
    const descriptorAt = nameAt + pad(n_namesz);
    const descriptorEnd = descriptorAt + n_descsz;
    return { name, type: n_type, descriptorAt, descriptorEnd, next: descriptorAt + pad(n_descsz) };
  }

  /** Whether notes end at an offset: only padding is left. */
  isEnd(at: number): boolean {
    return at <= this.#bytes.length && this.#bytes.subarray(at).every((byte) => byte === 0);
  }

  /** Whether a note of a known name at an offset is followed by another or the end. */
  isProven(at: number): boolean {
    const head = this.head(at);
    if (head === undefined || head.descriptorEnd > this.#bytes.length) return false;
    return this.head(head.next) !== undefined || this.isEnd(Math.min(head.next, this.#bytes.length));
  }

  find(from: number): number | undefined {
    for (let at = pad(from); at + nhdr.size <= this.#bytes.length; at += 4)
      if (this.head(at) !== undefined && this.isProven(at)) return at;
    return undefined;
  }
}

/** Whether a note of a known name is at the start of bytes. */
export function beginsWithNote(bytes: Uint8Array, order: ByteOrder): boolean {
  return new Walk(bytes, order).head(0) !== undefined;
}

/** Reads the notes of a run of bytes of which some are damaged. @param offset of the bytes in the file */
export function salvageNotes(bytes: Uint8Array, order: ByteOrder, offset: number): SalvagedNotes {
  const walk = new Walk(bytes, order);
  const notes: ElfNote[] = [];
  const lost: { start: number; end: number }[] = [];
  const lose = (start: number, end: number): void => {
    lost.push({ start: offset + start, end: offset + end });
  };
  for (let at = 0; at < bytes.length; ) {
    const head = walk.head(at);
    if (head === undefined && walk.isEnd(at)) break;
    const isWhole = head !== undefined && walk.isProven(at);
    const found = isWhole ? head.next : (walk.find(at + 4) ?? bytes.length);
    if (head === undefined) {
      lose(at, found);
      appendTo(notes, lostBetween(notes.at(-1), walk.head(found), found - at, offset + at));
      at = found;
      continue;
    }
    // another length than it says where that leads into, or beyond, the note that is found after it
    const end = head.descriptorEnd <= found ? head.descriptorEnd : found;
    const { name, type, descriptorAt } = head;
    notes.push({ name, type, descriptor: bytes.subarray(descriptorAt, end), offset: offset + at });
    if (end < head.descriptorEnd) lose(at, at + nhdr.size);
    if (pad(end) < found) {
      lose(pad(end), found);
      appendTo(notes, lostBetween(notes.at(-1), walk.head(found), found - pad(end), offset + pad(end)));
    }
    at = found;
  }
  return { notes, lost };
}

/** Stand-ins for notes that are lost between two of one kind and length, so that those after them keep their numbers. */
function lostBetween(
  before: ElfNote | undefined,
  after: Head | undefined,
  length: number,
  offset: number,
): readonly ElfNote[] {
  if (before === undefined || after === undefined) return [];
  const size = after.descriptorEnd - after.descriptorAt;
  const isSame =
    before.name === after.name && before.type === after.type && before.descriptor.length === size;
  const whole = nhdr.size + pad(before.name.length + 1) + pad(size);
  if (!isSame || length % whole !== 0) return [];
  return Array.from({ length: length / whole }, (_, i) => ({
    name: before.name,
    type: before.type,
    descriptor: new Uint8Array(0),
    offset: offset + i * whole,
  }));
}
