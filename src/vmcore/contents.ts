import { GUEST_RULES } from "../guest/rules.js";
import type { PhysicalMemory } from "../guest/memory.js";
import { type ByteSink, isRandomSink, type RandomSink } from "../io/byte-sink.js";
import { AbsentError } from "../findings/errors.js";
import { isZero, wordsOf } from "../io/zeros.js";
import type { AddressRange } from "../guest/output-format.js";

/** A run of guest memory and where its contents go in the output. */
export interface PlacedRun extends AddressRange {
  /** Bytes from the start of the output. */
  readonly offset: number;
}

const PAGE = 4096;
/** Zeros shorter than this are written: a hole saves less than another write costs. */
const SHORTEST_HOLE = 64 << 10;
const ZEROS = new Uint8Array(1 << 20);

/** Output at growing offsets: holes where the sink has them, zeros written where it takes bytes in order only. */
export class SparseWriter {
  readonly #sink: ByteSink;
  readonly #random: RandomSink | undefined;
  #position = 0;

  constructor(sink: ByteSink) {
    this.#sink = sink;
    this.#random = isRandomSink(sink) ? sink : undefined;
  }

  /** Writes `bytes` at `offset`, which is never below what was written before. */
  async put(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#random === undefined) {
      await this.#fillTo(offset);
      await this.#sink.write(bytes);
      this.#position = offset + bytes.length;
    } else {
      await this.#putSparsely(this.#random, offset, bytes);
    }
  }

  /** Ends the output at `size` bytes. */
  async finish(size: number): Promise<void> {
    if (this.#random === undefined) await this.#fillTo(size);
    else await this.#random.truncate(size);
  }

  async #fillTo(offset: number): Promise<void> {
    while (this.#position < offset) {
      const part = ZEROS.subarray(0, Math.min(ZEROS.length, offset - this.#position));
      await this.#sink.write(part);
      this.#position += part.length;
    }
  }

  async #putSparsely(sink: RandomSink, offset: number, bytes: Uint8Array): Promise<void> {
    const pending: Promise<void>[] = [];
    let start = 0;
    let zerosFrom: number | undefined;
    const words = wordsOf(bytes);
    const flush = (end: number): void => {
      if (end <= start) return;
      const written = sink.writeAt(offset + start, bytes.subarray(start, end));
      if (written instanceof Promise) pending.push(written);
    };
    for (let at = 0; at < bytes.length; at += PAGE) {
      const end = Math.min(at + PAGE, bytes.length);
      if (isZero(bytes, words, at, end)) {
        zerosFrom ??= at;
        continue;
      }
      if (zerosFrom !== undefined && at - zerosFrom >= SHORTEST_HOLE) {
        flush(zerosFrom);
        start = at;
      }
      zerosFrom = undefined;
    }
    flush(zerosFrom ?? bytes.length);
    await Promise.all(pending);
  }
}

/**
 * Copies guest memory to its places. Reading ahead is the memory's part, so that it overlaps with writing.
 *
 * @throws AbsentError `vmcore/incomplete-read` when memory gives less than its ranges promised.
 */
export async function writeContents(
  memory: PhysicalMemory,
  runs: readonly PlacedRun[],
  writer: SparseWriter,
  progress: (done: number) => void = () => undefined,
): Promise<void> {
  let done = 0;
  for (const run of runs) {
    let next = run.start;
    for await (const piece of memory.pieces(run.start, run.end)) {
      if (piece.gpa !== next) break;
      next += piece.length;
      if (piece.bytes !== undefined) await writer.put(run.offset + (piece.gpa - run.start), piece.bytes);
      done += piece.length;
      progress(done);
    }
    if (next !== run.end) throw incompleteRead(next);
  }
}

/** Memory gives less than its ranges promised: at `gpa`, guest-physical. */
export function incompleteRead(gpa: number): AbsentError {
  return new AbsentError(
    GUEST_RULES.incompleteRead,
    `guest memory at 0x${gpa.toString(16)} can't be read, though its source said it is there`,
  );
}
