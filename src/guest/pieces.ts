import { GUEST_RULES } from "./rules.js";
import { ALIGNMENT, alignmentOf } from "../io/alignment.js";
import { yieldToEventLoop } from "../io/event-loop.js";
import type { ByteSource, MaybePromise } from "../io/byte-source.js";
import { TruncatedError } from "../findings/errors.js";
import type { MemoryPiece } from "./memory.js";
import { isToken } from "./page-codes.js";

/** Bytes of one piece at most: reading one and writing the one before take long enough for two threads to do it at once. */
const PIECE = 4 << 20;
/** Runs of zeros shorter than this are filled in between their neighbours instead of parting the piece. */
const SHORT_ZEROS = 64 << 10;
/** Parts below this are worth fetching together … */
const SMALL_PART = 64 << 10;
/** … when no more than this is between them in the source. */
const SMALL_GAP = 16 << 10;
/** Parts fetched together at most, and what may be between all of them. */
const MOST_PARTS = 1024;
const SLACK = 256 << 10;
const WORD = 4;

/** The event loop turns every so many bytes: a source may answer at once, for hours. */
const BYTES_PER_TURN = 4 << 20;

/** Guest memory of one kind, ascending: `code` as the page index has it, from `within` bytes after its start. */
export interface Run {
  readonly gpa: number;
  readonly length: number;
  readonly code: number;
  readonly within: number;
  readonly zero: boolean;
}

/** What pieces are read from. */
export interface RunReader {
  readonly pageSize: number;
  readRun(code: number, within: number, into: Uint8Array): MaybePromise<number>;
}

/**
 * Joins runs into pieces and reads one piece ahead of the consumer. `next` may hand out one object again and
 * again; `most` bounds the bytes in all, so that short walks take short buffers.
 */
export async function* readPieces(
  next: () => Run | undefined,
  memory: RunReader,
  source: ByteSource,
  most: number,
): AsyncGenerator<MemoryPiece, void, undefined> {
  const reader = new PieceReader(next, memory, source, Math.min(PIECE, most));
  const start = (): Promise<MemoryPiece | undefined> => {
    const piece = reader.read();
    // a failure is met when the piece is asked for, not before
    piece.catch(() => undefined);
    return piece;
  };
  let ahead = start();
  let sinceTurn = 0;
  try {
    for (;;) {
      const piece = await ahead;
      if (piece === undefined) return;
      ahead = start();
      sinceTurn += piece.length;
      if (sinceTurn >= BYTES_PER_TURN) {
        sinceTurn = 0;
        await yieldToEventLoop();
      }
      yield piece;
    }
  } finally {
    await ahead.catch(() => undefined);
  }
}

class PieceReader {
  readonly #next: () => Run | undefined;
  readonly #memory: RunReader;
  readonly #source: ByteSource;
  readonly #size: number;
  readonly #buffers: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)];
  #turn: 0 | 1 = 0;
  /** What is left of the run at hand. */
  #left = 0;
  #gpa = 0;
  #code = 0;
  #within = 0;
  #zero = false;
  readonly #group: Group;

  constructor(next: () => Run | undefined, memory: RunReader, source: ByteSource, size: number) {
    this.#next = next;
    this.#memory = memory;
    this.#source = source;
    this.#size = size;
    this.#group = new Group(source);
  }

  #load(): boolean {
    if (this.#left > 0) return true;
    const run = this.#next();
    if (run === undefined) return false;
    this.#left = run.length;
    this.#gpa = run.gpa;
    this.#code = run.code;
    this.#within = run.within;
    this.#zero = run.zero;
    return true;
  }

  #consume(length: number): void {
    this.#left -= length;
    this.#gpa += length;
    this.#within += length;
  }

  async read(): Promise<MemoryPiece | undefined> {
    if (!this.#load()) return undefined;
    const gpa = this.#gpa;
    if (this.#zero && this.#left >= SHORT_ZEROS) {
      const length = Math.min(this.#left, PIECE);
      this.#consume(length);
      return { gpa, length, bytes: undefined };
    }
    const buffer = this.#buffer();
    let at = 0;
    while (at < this.#size && this.#load() && this.#gpa === gpa + at) {
      if (this.#zero && this.#left >= SHORT_ZEROS) break;
      const length = Math.min(this.#left, this.#size - at);
      const done = this.#fetch(buffer, at, length);
      if (done instanceof Promise) await done;
      this.#consume(length);
      at += length;
    }
    const rest = this.#group.fetch(buffer);
    if (rest instanceof Promise) await rest;
    return { gpa, length: at, bytes: buffer.subarray(0, at) };
  }

  /** The buffer that the consumer does not hold, from where what comes next is aligned on. */
  #buffer(): Uint8Array {
    this.#turn = this.#turn === 0 ? 1 : 0;
    if (this.#buffers[this.#turn].length === 0)
      this.#buffers[this.#turn] = new Uint8Array(this.#size + SLACK + 2 * ALIGNMENT);
    const isPlain = !this.#zero && !isToken(this.#code);
    const start = isPlain ? alignmentOf(this.#source, this.#code + this.#within) : 0;
    // whoever looks for zeros does it by words
    return this.#buffers[this.#turn].subarray(start - (start % WORD));
  }

  #fetch(buffer: Uint8Array, at: number, length: number): MaybePromise<void> {
    const scattered = !this.#zero && !isToken(this.#code) && length < SMALL_PART;
    if (scattered && this.#group.add(this.#code + this.#within, at, length)) return undefined;
    // the group's gaps are where this goes
    const before = this.#group.fetch(buffer);
    if (before instanceof Promise) return before.then(() => this.#fetch(buffer, at, length));
    if (scattered) return this.#fetch(buffer, at, length);
    if (isToken(this.#code)) return this.#decode(buffer, at, length);
    if (!this.#zero)
      return readExactly(this.#source, this.#code + this.#within, buffer.subarray(at, at + length));
    buffer.fill(0, at, at + length);
    return undefined;
  }

  /** Decodes page by page; a run of tokens counts down by one a page. */
  async #decode(buffer: Uint8Array, at: number, length: number): Promise<void> {
    const { pageSize } = this.#memory;
    for (let done = 0; done < length; ) {
      const from = this.#within + done;
      const page = Math.floor(from / pageSize);
      const within = from % pageSize;
      const part = Math.min(pageSize - within, length - done);
      const result = this.#memory.readRun(
        this.#code - page,
        within,
        buffer.subarray(at + done, at + done + part),
      );
      if (result instanceof Promise) await result;
      done += part;
    }
  }
}

/**
 * Small parts of a piece that lie near each other in the source, as pages do that have headers between them:
 * read in one sweep, then moved together. The buffer needs SLACK bytes more than the piece.
 */
class Group {
  readonly #source: ByteSource;
  readonly #offsets = new Float64Array(MOST_PARTS);
  readonly #lengths = new Uint32Array(MOST_PARTS);
  #count = 0;
  /** Place in the buffer of the first part. */
  #at = 0;
  /** Bytes of all parts. */
  #bytes = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** False when the part is not for this group: fetch it first. Parts come one after another. */
  add(offset: number, at: number, length: number): boolean {
    const count = this.#count;
    if (count === 0) {
      this.#at = at;
      this.#bytes = 0;
    } else {
      const end = (this.#offsets[count - 1] ?? 0) + (this.#lengths[count - 1] ?? 0);
      const gaps = offset - (this.#offsets[0] ?? 0) - this.#bytes;
      if (count === MOST_PARTS || offset < end || offset - end > SMALL_GAP || gaps > SLACK) return false;
    }
    this.#offsets[count] = offset;
    this.#lengths[count] = length;
    this.#bytes += length;
    this.#count += 1;
    return true;
  }

  /** Reads what was added to its place. */
  fetch(buffer: Uint8Array): MaybePromise<void> {
    const count = this.#count;
    if (count === 0) return undefined;
    this.#count = 0;
    const first = this.#offsets[0] ?? 0;
    const span = (this.#offsets[count - 1] ?? 0) + (this.#lengths[count - 1] ?? 0) - first;
    if (count === 1) return readExactly(this.#source, first, buffer.subarray(this.#at, this.#at + span));
    const ahead = alignmentOf(this.#source, first) - ((buffer.byteOffset + this.#at) % ALIGNMENT);
    const from = this.#at + ((ahead + ALIGNMENT) % ALIGNMENT);
    const done = readExactly(this.#source, first, buffer.subarray(from, from + span));
    return done instanceof Promise
      ? done.then(() => this.#join(buffer, count, from - first))
      : this.#join(buffer, count, from - first);
  }

  /** Moves parts to their places. @param start what is to be added to their offsets in the source */
  #join(buffer: Uint8Array, count: number, start: number): void {
    let to = this.#at;
    for (let i = 0; i < count; i += 1) {
      const from = start + (this.#offsets[i] ?? 0);
      const length = this.#lengths[i] ?? 0;
      if (from !== to) buffer.copyWithin(to, from, from + length);
      to += length;
    }
  }
}

/** Fills `into` from an offset of a source. @throws TruncatedError when the source has become shorter */
export function readExactly(source: ByteSource, offset: number, into: Uint8Array): MaybePromise<void> {
  const check = (n: number): MaybePromise<void> => {
    if (n === into.length) return undefined;
    // a source may give less than asked for at once; only nothing at all is its end
    if (n > 0) return readExactly(source, offset + n, into.subarray(n));
    throw new TruncatedError(
      GUEST_RULES.sourceShrank,
      "the input ends before memory that it held",
      into.length,
      { source: source.name, offset },
    );
  };
  const result = source.read(offset, into);
  return result instanceof Promise ? result.then(check) : check(result);
}
