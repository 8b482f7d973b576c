import { firstAtLeast } from "../binary/search.js";
import type { ByteSource, MaybePromise } from "../io/byte-source.js";
import { PT_LOAD } from "./layout.js";
import type { ProcessPiece, ProcessPresence } from "./process-memory.js";
import type { SegmentTable } from "./segments.js";

/** Addresses from here on are no user-space addresses (the vsyscall page, kernel text): left out. */
const ADDRESS_LIMIT = Number.MAX_SAFE_INTEGER;

/** Memory as the PT_LOAD segments of a core describe it, by virtual address. */
export class SegmentMemory {
  readonly source: ByteSource;
  /** Bytes that segments promise beyond the end of the file. */
  readonly missing: number;
  // sorted by address and disjoint; [start, saved) has contents in the file, [saved, end) has none
  readonly #start: Float64Array;
  readonly #saved: Float64Array;
  readonly #end: Float64Array;
  readonly #offset: Float64Array;
  readonly #count: number;
  #last = 0;

  constructor(source: ByteSource, segments: SegmentTable) {
    this.source = source;
    const order: number[] = [];
    for (let i = 0; i < segments.length; i += 1) {
      if (segments.type[i] === PT_LOAD && (segments.vaddr[i] ?? 0n) < BigInt(ADDRESS_LIMIT)) order.push(i);
    }
    const address = (i: number): number => Number(segments.vaddr[i] ?? 0n);
    order.sort((a, b) => address(a) - address(b));
    this.#start = new Float64Array(order.length);
    this.#saved = new Float64Array(order.length);
    this.#end = new Float64Array(order.length);
    this.#offset = new Float64Array(order.length);
    let count = 0;
    let missing = 0;
    let floor = 0;
    for (const i of order) {
      const [filesz, memsz] = [segments.filesz[i] ?? 0, segments.memsz[i] ?? 0];
      const [vaddr, offset] = [address(i), segments.offset[i] ?? 0];
      missing += Math.max(0, Math.min(filesz, offset + filesz - source.size));
      const end = Math.min(ADDRESS_LIMIT, vaddr + Math.max(filesz, memsz));
      // where segments overlap the one that starts lower keeps its bytes
      const start = Math.max(vaddr, floor);
      if (end <= start) continue;
      this.#start[count] = start;
      this.#saved[count] = Math.min(end, Math.max(start, vaddr + filesz));
      this.#end[count] = end;
      this.#offset[count] = offset + (start - vaddr);
      floor = end;
      count += 1;
    }
    this.#count = count;
    this.missing = missing;
  }

  /** Index of the first segment that ends beyond `address`. */
  #find(address: number): number {
    const last = this.#last;
    if ((this.#start[last] ?? Infinity) <= address && address < (this.#end[last] ?? 0)) return last;
    const found = firstAtLeast(this.#end, address + 1, this.#count);
    if (found < this.#count) this.#last = found;
    return found;
  }

  /** See ProcessMemory.read. */
  read(address: number, into: Uint8Array): MaybePromise<number> {
    let done = 0;
    while (done < into.length) {
      const run = this.#run(address + done, into.length - done);
      if (run.length === 0) break;
      const part = done === 0 && run.length === into.length ? into : into.subarray(done, done + run.length);
      const got = this.source.read(run.offset, part);
      if (got instanceof Promise) return this.#finish(got, address, done, run.length, into);
      done += got;
      if (got < run.length) break;
    }
    return done;
  }

  async #finish(
    pending: Promise<number>,
    address: number,
    done: number,
    length: number,
    into: Uint8Array,
  ): Promise<number> {
    const got = await pending;
    const sum = done + got;
    if (got < length || sum === into.length) return sum;
    return sum + (await this.read(address + sum, into.subarray(sum)));
  }

  /** Bytes at `address` that are in a row in the file, up to `limit`. */
  #run(address: number, limit: number): { offset: number; length: number } {
    const i = this.#find(address);
    const [start, saved] = [this.#start[i] ?? Infinity, this.#saved[i] ?? 0];
    if (i >= this.#count || address < start || address >= saved) return { offset: 0, length: 0 };
    const offset = (this.#offset[i] ?? 0) + (address - start);
    const room = Math.min(limit, saved - address, this.source.size - offset);
    return { offset, length: Math.max(0, room) };
  }

  /** See ProcessMemory.pieces. */
  *pieces(start: number, end: number): Iterable<ProcessPiece> {
    let held: ProcessPiece | undefined;
    for (const piece of this.#parts(start, end)) {
      if (held !== undefined && joins(held, piece)) {
        held = { ...held, length: held.length + piece.length };
      } else {
        if (held !== undefined) yield held;
        held = piece;
      }
    }
    if (held !== undefined) yield held;
  }

  *#parts(start: number, end: number): Iterable<ProcessPiece> {
    let at = start;
    const piece = (to: number, presence: ProcessPresence, offset?: number): ProcessPiece => ({
      address: at,
      length: to - at,
      presence,
      ...(offset === undefined ? {} : { offset }),
    });
    for (let i = this.#find(start); at < end && i < this.#count; i += 1) {
      const [low, saved, high] = [this.#start[i] ?? 0, this.#saved[i] ?? 0, this.#end[i] ?? 0];
      if (at < low) {
        yield piece(Math.min(low, end), "unmapped");
        at = Math.min(low, end);
      }
      if (at >= end) return;
      const offset = this.#offset[i] ?? 0;
      // what the file really has of [low, saved)
      const there = Math.max(low, Math.min(saved, low + (this.source.size - offset)));
      for (const [to, presence] of [
        [there, "present"],
        [saved, "truncated"],
        [high, "elided"],
      ] as const) {
        const stop = Math.min(to, end);
        if (at >= stop) continue;
        yield piece(stop, presence, presence === "present" ? offset + (at - low) : undefined);
        at = stop;
      }
    }
    if (at < end) yield piece(end, "unmapped");
  }
}

function joins(a: ProcessPiece, b: ProcessPiece): boolean {
  if (a.presence !== b.presence) return false;
  return a.offset === undefined || a.offset + a.length === b.offset;
}
