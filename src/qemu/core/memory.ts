import {
  type MemoryPiece,
  type MemoryRange,
  PAGE_SIZE,
  type PhysicalMemory,
  type SourcePiece,
} from "../../guest/memory.js";
import { readPieces, type Run } from "../../guest/pieces.js";
import { findSegment, joinAlike, readSegments } from "../../guest/segmented.js";
import type { MaybePromise } from "../../io/byte-source.js";
import { type JoinedSource, joinSources } from "../../io/join.js";
import type { Extent } from "./presence.js";

/** Physical memory as a few extents of bytes, each in some file. */
export class ExtentMemory implements PhysicalMemory {
  readonly #extents: readonly Extent[];
  readonly #joined: JoinedSource;

  /** @param extents Disjoint, in any order. */
  constructor(extents: readonly Extent[]) {
    this.#extents = [...extents].sort((a, b) => a.start - b.start);
    const sources = this.#extents.flatMap(({ source }) => (source === undefined ? [] : [source]));
    const name = sources[0]?.name ?? "nothing";
    // a running process has no end: it must be the last, so that all offsets stay below 2^53
    this.#joined = joinSources(
      name,
      sources.sort((a, b) => a.size - b.size),
    );
  }

  ranges(): Iterable<MemoryRange> {
    return joinAlike(this.#extents);
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    return readSegments((address) => findSegment(this.#extents, address), gpa, into, readExtent);
  }

  contiguous(gpa: number, most: number): SourcePiece | undefined {
    const extent = findSegment(this.#extents, gpa);
    if (extent === undefined || extent.presence === "absent" || extent.source === undefined) return undefined;
    const { source, offset = 0, start, end } = extent;
    return { source, offset: offset + gpa - start, length: Math.min(most, end - gpa) };
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
        const code = zero ? 0 : this.#joined.startOf(source) + offset;
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

function readExtent(
  { presence, source, offset = 0 }: Extent,
  within: number,
  into: Uint8Array,
): MaybePromise<number> {
  if (presence === "absent") return 0;
  if (source !== undefined) return source.read(offset + within, into);
  into.fill(0);
  return into.length;
}
