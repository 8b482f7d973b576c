import { firstIndex } from "../binary/search.js";
import type { MaybePromise } from "../io/byte-source.js";
import type { MemoryRange } from "./memory.js";

/** A run of guest-physical addresses, in bytes, `end` exclusive, with whatever a format knows of it. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

/**
 * Fills `into` with contents of a segment from `within` bytes after its start on. Fewer bytes than asked for end the
 * read: what follows is absent, or the source has a fault there.
 */
export type ReadSegment<S extends Segment> = (
  segment: S,
  within: number,
  into: Uint8Array,
) => MaybePromise<number>;

/** Index of the first segment that ends after an address. `segments` are ascending and disjoint. */
export function firstEndingAfter(segments: readonly Segment[], address: number): number {
  return firstIndex(segments.length, (i) => (segments[i]?.end ?? Infinity) > address);
}

/** The segment that holds an address; undefined in a gap. `segments` are ascending and disjoint. */
export function findSegment<S extends Segment>(segments: readonly S[], address: number): S | undefined {
  const segment = segments[firstEndingAfter(segments, address)];
  return segment !== undefined && segment.start <= address ? segment : undefined;
}

/**
 * Fills `into` from an address on, across segments that follow each other. Returns the bytes read: it stops at the first
 * gap and where a segment gives fewer bytes than asked for. Synchronous as long as the segments are.
 */
export function readSegments<S extends Segment>(
  find: (address: number) => S | undefined,
  address: number,
  into: Uint8Array,
  read: ReadSegment<S>,
  done = 0,
): MaybePromise<number> {
  let at = done;
  while (at < into.length) {
    const segment = find(address + at);
    if (segment === undefined) break;
    const length = Math.min(into.length - at, segment.end - (address + at));
    const part = length === into.length ? into : into.subarray(at, at + length);
    const result = read(segment, address + at - segment.start, part);
    if (result instanceof Promise) {
      if (part === into) return result;
      const from = at;
      return result.then((n) => (n < length ? from + n : readSegments(find, address, into, read, from + n)));
    }
    at += result;
    if (result < length) break;
  }
  return at;
}

/** Whether two ranges are of the same kind for the same reason. */
function isAlike(a: MemoryRange, b: MemoryRange): boolean {
  return (
    a.presence === b.presence &&
    (a.reason === b.reason || (a.reason?.kind === b.reason?.kind && a.reason?.text === b.reason?.text))
  );
}

/** Ascending, disjoint ranges with neighbours that are alike joined into one. */
export function* joinAlike(ranges: Iterable<MemoryRange>): Generator<MemoryRange, void, undefined> {
  let open: (MemoryRange & { end: number }) | undefined;
  for (const range of ranges) {
    if (open?.end === range.start && isAlike(open, range)) {
      open.end = range.end;
      continue;
    }
    if (open !== undefined) yield open;
    const { start, end, presence, reason } = range;
    open = { start, end, presence, reason };
  }
  if (open !== undefined) yield open;
}
