import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../../guest/memory.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { readPieces, type Run } from "../../guest/pieces.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import type { Extent } from "./presence.js";

/** Files stand side by side in one space of offsets, this far apart. */
const APART = 2 ** 48;

/** Several files as one source: file i begins at offset i × 2^48. */
class JoinedSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #sources: readonly ByteSource[];

  constructor(sources: readonly ByteSource[]) {
    this.#sources = sources;
    this.name = sources[0]?.name ?? "nothing";
    this.size = sources.length * APART;
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const source = this.#sources[Math.floor(offset / APART)];
    return source === undefined ? 0 : source.read(offset % APART, into);
  }
}

/** Physical memory as a few extents of bytes, each in some file. */
export class ExtentMemory implements PhysicalMemory {
  readonly #extents: readonly Extent[];
  readonly #sources: readonly ByteSource[];
  readonly #joined: ByteSource;

  /** @param extents Disjoint, in any order. */
  constructor(extents: readonly Extent[]) {
    this.#extents = [...extents].sort((a, b) => a.start - b.start);
    this.#sources = [...new Set(extents.flatMap(({ source }) => (source === undefined ? [] : [source])))];
    this.#joined = new JoinedSource(this.#sources);
  }

  *ranges(): Iterable<MemoryRange> {
    let open: { start: number; end: number; presence: Extent["presence"]; reason?: string } | undefined;
    for (const { start, end, presence, reason } of this.#extents) {
      if (open?.end === start && open.presence === presence && open.reason === reason) {
        open.end = end;
        continue;
      }
      if (open !== undefined) yield open;
      open = { start, end, presence, ...(reason === undefined ? {} : { reason }) };
    }
    if (open !== undefined) yield open;
  }

  #find(gpa: number): Extent | undefined {
    let [low, high] = [0, this.#extents.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#extents[middle]?.end ?? 0) <= gpa) low = middle + 1;
      else high = middle;
    }
    const extent = this.#extents[low];
    return extent !== undefined && extent.start <= gpa ? extent : undefined;
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    return this.#readOn(gpa, into, 0);
  }

  #readOn(gpa: number, into: Uint8Array, done: number): MaybePromise<number> {
    let at = done;
    while (at < into.length) {
      const extent = this.#find(gpa + at);
      if (extent === undefined || extent.presence === "absent") break;
      const length = Math.min(into.length - at, extent.end - (gpa + at));
      const part = at === 0 && length === into.length ? into : into.subarray(at, at + length);
      const { source, offset = 0 } = extent;
      if (source === undefined) {
        part.fill(0);
        at += length;
        continue;
      }
      const result = source.read(offset + (gpa + at - extent.start), part);
      if (result instanceof Promise) {
        const from = at;
        return result.then((n) => (n < length ? from + n : this.#readOn(gpa, into, from + n)));
      }
      at += result;
      if (result < length) break;
    }
    return at;
  }

  pieces(start = 0, end = Number.POSITIVE_INFINITY): AsyncIterable<MemoryPiece> {
    const extents = this.#extents[Symbol.iterator]();
    const next = (): Run | undefined => {
      for (const extent of { [Symbol.iterator]: () => extents }) {
        const from = Math.max(start, extent.start);
        const length = Math.min(end, extent.end) - from;
        if (extent.presence === "absent" || length <= 0) continue;
        const { source, offset = 0 } = extent;
        const zero = source === undefined;
        const code = zero ? 0 : this.#sources.indexOf(source) * APART + offset;
        return { gpa: from, length, code, within: from - extent.start, zero };
      }
      return undefined;
    };
    const reader = {
      pageSize: PAGE_SIZE,
      readRun: (code: number, within: number, into: Uint8Array) => this.#joined.read(code + within, into),
    };
    const most = this.#extents.reduce(
      (sum, extent) => sum + Math.max(0, Math.min(end, extent.end) - Math.max(start, extent.start)),
      0,
    );
    return readPieces(next, reader, this.#joined, most);
  }
}
