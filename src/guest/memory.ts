import type { AbsentReason } from "./absent.js";
import type { ByteSource, MaybePromise } from "../io/byte-source.js";

/** Bytes of a page: guest memory is described in units of it by every source this project reads but kdumps of larger pages. */
export const PAGE_SIZE = 4096;

/** present: contents in the source; zero: known to be zeros; absent: not in the source, contents unknown. */
export type Presence = "present" | "zero" | "absent";

/** A run of guest-physical memory of one kind; addresses in bytes, `end` exclusive. */
export interface MemoryRange {
  readonly start: number;
  readonly end: number;
  readonly presence: Presence;
  /** Why the contents are not there (absent), or known to be zero (zero). */
  readonly reason?: AbsentReason | undefined;
}

/** A piece of memory in address order. */
export interface MemoryPiece {
  readonly gpa: number;
  readonly length: number;
  /** The contents, valid until the next piece is asked for; undefined: all zeros. */
  readonly bytes: Uint8Array | undefined;
}

/** Memory that is in one piece in a source, from `offset` on. */
export interface SourcePiece {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
}

/** Guest-physical memory of a saved guest. What no range covers does not exist (holes, devices). */
export interface PhysicalMemory {
  /** Sorted, disjoint, joined where neighbours are alike. Computed anew for each walk. */
  ranges(): Iterable<MemoryRange>;
  /**
   * Fills `into` with the contents at guest-physical address `gpa`. Returns how many bytes could be read:
   * it stops before the first byte that is absent or does not exist (0 when that is the first).
   */
  read(gpa: number, into: Uint8Array): MaybePromise<number>;
  /** The bytes from `gpa` on, `most` at most, that are in a source as they are; undefined: none, or not known. */
  contiguous?(gpa: number, most: number): SourcePiece | undefined;
  /**
   * How often the page at `gpa` was sent, of memory that a stream sends while the guest changes it: 255 is 255 or more,
   * and what no range covers or is absent means nothing.
   */
  sends?(gpa: number): number;
  /** All present and zero memory within [start, end), ascending, in pieces of up to a few MiB. */
  pieces(start?: number, end?: number): AsyncIterable<MemoryPiece>;
}

/** Whether a range is absent because the guest itself has no memory there: nothing is lost. */
export function isUnpopulated(range: MemoryRange): boolean {
  return range.reason?.kind === "unpopulated";
}

/** Whether a range is absent because the dump's writer left it out on purpose. */
export function isExcluded(range: MemoryRange): boolean {
  return range.reason?.kind === "excluded";
}

/** Bytes of each kind of memory; what is unpopulated counts as none. */
export interface MemoryTotals {
  readonly present: number;
  readonly zero: number;
  readonly absent: number;
}

/** Adds up a memory's ranges by presence. */
export function memoryTotals(memory: PhysicalMemory): MemoryTotals {
  const totals = { present: 0, zero: 0, absent: 0 };
  for (const range of memory.ranges()) {
    if (!isUnpopulated(range)) totals[range.presence] += range.end - range.start;
  }
  return totals;
}
