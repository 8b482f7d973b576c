import type { ByteSource, MaybePromise } from "../io/byte-source.js";
import { TruncatedError } from "../io/errors.js";
import type { MemoryPiece } from "./memory.js";
import { isToken } from "./page-index.js";

/** Octets of one piece at most: what was read is still in the processor's cache when it is written. */
const PIECE = 1 << 20;
/** Runs of zeros shorter than this are filled in between their neighbours instead of parting the piece. */
const SHORT_ZEROS = 64 << 10;
/** Parts below this are worth fetching together … */
const SMALL_PART = 64 << 10;
/** … when no more than this lies between them in the source. */
const SMALL_GAP = 16 << 10;
/** Octets of the source fetched together at most: a piece of pages that have headers between them, and more. */
const SWEEP = 2 * PIECE;

/** Guest memory of one kind, ascending: `code` as the page index has it, from `within` octets after its start. */
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
 * again; `most` bounds the octets in all, so that short walks take short buffers.
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
  try {
    for (;;) {
      const piece = await ahead;
      if (piece === undefined) return;
      ahead = start();
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
  /** Small parts of the source to fetch together: offset, place in the buffer and length of each. */
  #group: number[] = [];
  #scratch = new Uint8Array(0);

  constructor(next: () => Run | undefined, memory: RunReader, source: ByteSource, size: number) {
    this.#next = next;
    this.#memory = memory;
    this.#source = source;
    this.#size = size;
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
    const rest = this.#flush(buffer);
    if (rest instanceof Promise) await rest;
    return { gpa, length: at, bytes: buffer.subarray(0, at) };
  }

  /** The buffer that the consumer does not hold. */
  #buffer(): Uint8Array {
    this.#turn = this.#turn === 0 ? 1 : 0;
    if (this.#buffers[this.#turn].length === 0) this.#buffers[this.#turn] = new Uint8Array(this.#size);
    return this.#buffers[this.#turn];
  }

  #fetch(buffer: Uint8Array, at: number, length: number): MaybePromise<void> {
    if (this.#zero) {
      buffer.fill(0, at, at + length);
      return undefined;
    }
    if (isToken(this.#code)) return this.#decode(buffer, at, length);
    const offset = this.#code + this.#within;
    if (length >= SMALL_PART) {
      return this.#exactly(offset, buffer.subarray(at, at + length));
    }
    const group = this.#group;
    const first = group[0];
    if (first !== undefined) {
      const end = (group.at(-3) ?? 0) + (group.at(-1) ?? 0);
      if (offset < end || offset - end > SMALL_GAP || offset + length - first > SWEEP) {
        const done = this.#flush(buffer);
        this.#group = [offset, at, length];
        return done;
      }
    }
    group.push(offset, at, length);
    return undefined;
  }

  /** Reads the grouped parts: a single one in place, several in one sweep. */
  #flush(buffer: Uint8Array): MaybePromise<void> {
    const group = this.#group;
    const [offset, at, length] = group;
    if (offset === undefined || at === undefined || length === undefined) return undefined;
    this.#group = [];
    if (group.length === 3) return this.#exactly(offset, buffer.subarray(at, at + length));
    const span = (group.at(-3) ?? 0) + (group.at(-1) ?? 0) - offset;
    if (this.#scratch.length < span) this.#scratch = new Uint8Array(Math.min(SWEEP, 2 * span));
    const scratch = this.#scratch.subarray(0, span);
    const scatter = (): void => {
      for (let i = 0; i < group.length; i += 3) {
        const from = (group[i] ?? 0) - offset;
        buffer.set(scratch.subarray(from, from + (group[i + 2] ?? 0)), group[i + 1]);
      }
    };
    const done = this.#exactly(offset, scratch);
    return done instanceof Promise ? done.then(scatter) : scatter();
  }

  #exactly(offset: number, into: Uint8Array): MaybePromise<void> {
    const check = (n: number): void => {
      if (n === into.length) return;
      throw new TruncatedError(
        "guest/source-shrank",
        "the input ends before memory that it held",
        into.length - n,
        { source: this.#source.name, offset },
      );
    };
    const result = this.#source.read(offset, into);
    return result instanceof Promise ? result.then(check) : check(result);
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
