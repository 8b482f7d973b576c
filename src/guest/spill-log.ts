import type { OpenSpill, SpillFile } from "../io/spill.js";

/** Bytes gathered before they are written. */
const TAIL = 256 << 10;
/** Words in front of each segment: place of the segment before it (two), words that follow, kind. */
const HEAD = 4;
const TWO_32 = 2 ** 32;

/** A segment that nothing comes before. */
export const NO_SEGMENT = -1;

/** One segment of a log. */
export interface Segment {
  readonly kind: number;
  readonly words: Uint32Array;
}

/** A file of segments that are only added, each with the place of one before it: chains that are read from their ends. */
export class SpillLog {
  readonly #open: OpenSpill;
  #file: SpillFile | undefined;
  readonly #tail = new Uint8Array(TAIL);
  /** Bytes in the file, and after them in the tail. */
  #written = 0;
  #filled = 0;
  readonly #head = new Uint32Array(HEAD);
  /** Of the segment that was read last: memory that is given back late would be kept beside what is in use. */
  #words = new Uint32Array(0);

  /** @param open opens the file when something is to be written */
  constructor(open: OpenSpill) {
    this.#open = open;
  }

  /** Adds a segment; gives its place. @throws SystemError when the file can't be written */
  add(before: number, kind: number, words: Uint32Array): number {
    const place = this.#written + this.#filled;
    this.#head[0] = before < 0 ? 0xffff_ffff : before % TWO_32;
    this.#head[1] = before < 0 ? 0xffff_ffff : Math.floor(before / TWO_32);
    this.#head[2] = words.length;
    this.#head[3] = kind;
    this.#put(bytesOf(this.#head));
    this.#put(bytesOf(words));
    return place;
  }

  #put(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > TAIL) this.#flush();
    if (bytes.length > TAIL) {
      this.#opened().write(this.#written, bytes);
      this.#written += bytes.length;
    } else {
      this.#tail.set(bytes, this.#filled);
      this.#filled += bytes.length;
    }
  }

  #flush(): void {
    if (this.#filled === 0) return;
    this.#opened().write(this.#written, this.#tail.subarray(0, this.#filled));
    this.#written += this.#filled;
    this.#filled = 0;
  }

  #opened(): SpillFile {
    return (this.#file ??= this.#open());
  }

  /** Place of the segment before the one at a place; NO_SEGMENT for the first of a chain. */
  before(place: number): number {
    this.#get(place, bytesOf(this.#head));
    const [low = 0, high = 0] = this.#head;
    return high === 0xffff_ffff ? NO_SEGMENT : high * TWO_32 + low;
  }

  /** The segment at a place. Its words hold until the next one is read. */
  read(place: number): Segment {
    this.#get(place, bytesOf(this.#head));
    const [, , length = 0, kind = 0] = this.#head;
    if (this.#words.length < length) this.#words = new Uint32Array(length);
    const words = this.#words.subarray(0, length);
    this.#get(place + HEAD * 4, bytesOf(words));
    return { kind, words };
  }

  #get(place: number, into: Uint8Array): void {
    const inFile = Math.max(0, Math.min(into.length, this.#written - place));
    if (inFile > 0) this.#opened().read(place, into.subarray(0, inFile));
    if (inFile === into.length) return;
    const from = place + inFile - this.#written;
    into.set(this.#tail.subarray(from, from + into.length - inFile), inFile);
  }
}

const bytesOf = (words: Uint32Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
