import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../../guest/memory.js";
import { FRAME_LIMIT } from "../../guest/page-index.js";
import type { PageMap } from "../../guest/page-map.js";
import type { MaybePromise } from "../../io/byte-source.js";
import { yieldToEventLoop } from "../../io/event-loop.js";
import type { CodecName } from "../../io/codecs/codec.js";
import type { Unpackers, UnpackPool } from "../../io/codecs/unpack-batch.js";
import { incompleteRead } from "../contents.js";
import { Batches, type PageBatch } from "./batches.js";
import type { KdumpPages } from "./pages.js";

/** Walks over less than this many bytes are not worth threads. */
const LONG_WALK = 16 << 20;

/** Batches at hand at most, those of zeros among them. */
const MOST_WAITING = 256;
/** The event loop turns every so many pieces of zeros: nothing else waits for them. */
const ZEROS_PER_TURN = 64;

/** The threads of one dump: started ahead, or when they are first needed. */
export class UnpackThreads {
  readonly #start: () => UnpackPool;
  #pool: UnpackPool | undefined;
  #isReady = false;

  constructor({ start, ahead }: Unpackers) {
    this.#start = start;
    if (ahead === true) this.#pool = start();
  }

  /** The threads, ready for pages that these codecs packed. */
  pool(codecs: readonly CodecName[]): UnpackPool {
    const pool = (this.#pool ??= this.#start());
    if (!this.#isReady) pool.prepare(codecs);
    this.#isReady = true;
    return pool;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}

/** A batch on its way, and its pages once they are unpacked. */
interface Waiting {
  readonly batch: PageBatch;
  readonly pages: Promise<Uint8Array | undefined> | undefined;
}

/** Memory of a kdump whose long walks are unpacked by several threads; all else is the map's. */
export class UnpackedMemory implements PhysicalMemory {
  readonly #map: PageMap;
  readonly #pagesOf: (token: number) => KdumpPages;
  readonly #pool: () => UnpackPool;
  readonly #longWalk: number;

  /**
   * @param pool gives the threads, when they are needed
   * @param longWalk bytes of a walk from which on they are
   */
  constructor(
    map: PageMap,
    pagesOf: (token: number) => KdumpPages,
    pool: () => UnpackPool,
    longWalk: number = LONG_WALK,
  ) {
    this.#longWalk = longWalk;
    this.#map = map;
    this.#pagesOf = pagesOf;
    this.#pool = pool;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#map.ranges();
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    return this.#map.read(gpa, into);
  }

  pieces(start = 0, end = Number.POSITIVE_INFINITY): AsyncIterable<MemoryPiece> {
    const { pageSize } = this.#map;
    const from = Math.max(0, Math.ceil(start));
    const to = Math.min(Math.floor(end), FRAME_LIMIT * pageSize);
    // NaN as well
    if (!(to - from >= this.#longWalk)) return this.#map.pieces(start, end);
    return this.#unpacked(from, to);
  }

  async *#unpacked(from: number, to: number): AsyncIterable<MemoryPiece> {
    const { pageSize } = this.#map;
    const pool = this.#pool();
    const batches = new Batches(
      this.#map,
      Math.floor(from / pageSize),
      Math.min(Math.ceil(to / pageSize), FRAME_LIMIT),
      this.#pagesOf,
    );
    const waiting: Waiting[] = [];
    let underWay = 0;
    let zeros = 0;
    let isDone = false;
    const fill = async (): Promise<void> => {
      while (!isDone && underWay < pool.width && waiting.length < MOST_WAITING) {
        const batch = await batches.next();
        if (batch === undefined) isDone = true;
        else {
          const pages = batch.batch && pool.unpack(batch.batch);
          // a failure is met when the batch is its turn, not before
          pages?.catch(() => undefined);
          if (pages !== undefined) underWay += 1;
          waiting.push({ batch, pages });
        }
      }
    };
    try {
      for (;;) {
        await fill();
        const next = waiting.shift();
        if (next === undefined) return;
        const { frame, count } = next.batch;
        const gpa = Math.max(from, frame * pageSize);
        const length = Math.min(to, (frame + count) * pageSize) - gpa;
        if (next.pages === undefined) {
          zeros += 1;
          if (zeros % ZEROS_PER_TURN === 0) await yieldToEventLoop();
          yield { gpa, length, bytes: undefined };
          continue;
        }
        const pages = await next.pages;
        underWay -= 1;
        const within = gpa - frame * pageSize;
        if (pages === undefined) yield* this.#oneByOne(gpa, length);
        else {
          yield { gpa, length, bytes: pages.subarray(within, within + length) };
          pool.recycle(pages);
        }
      }
    } finally {
      for (const { pages } of waiting) {
        const unpacked = await pages?.catch(() => undefined);
        if (unpacked !== undefined) pool.recycle(unpacked);
      }
    }
  }

  /** Pages of a batch that can't all be unpacked: those before the damaged one, then the error that says which and why. */
  async *#oneByOne(gpa: number, length: number): AsyncIterable<MemoryPiece> {
    const { pageSize } = this.#map;
    for (let at = gpa; at < gpa + length; ) {
      const part = Math.min(pageSize - (at % pageSize), gpa + length - at);
      const bytes = new Uint8Array(part);
      const read = await this.#map.read(at, bytes);
      if (read < part) throw incompleteRead(at + read);
      yield { gpa: at, length: part, bytes };
      at += part;
    }
  }
}
