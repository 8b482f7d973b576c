import type { PagesChunk } from "./chunks.js";
import { TYPE } from "./layout.js";

/** Entries of page batches, counted. */
export interface EntryCounts {
  /** Entries with contents, all copies. */
  copies: number;
  /** Copies sent compressed. */
  compressed: number;
  /** Entries of type invalid, which name no page. */
  invalid: number;
  allocateOnly: number;
  broken: number;
  /** Copies of the verify pass. */
  verify: number;
  batches: number;
}

/** Counts before the first batch. */
export function noEntries(): EntryCounts {
  return { copies: 0, compressed: 0, invalid: 0, allocateOnly: 0, broken: 0, verify: 0, batches: 0 };
}

/** Adds a batch to the counts. */
export function countEntries(counts: EntryCounts, chunk: PagesChunk): void {
  counts.batches += 1;
  if (chunk.verify) {
    counts.verify += chunk.dataPages;
    return;
  }
  counts.copies += chunk.dataPages;
  if (chunk.compressed) counts.compressed += chunk.dataPages;
  for (const entry of chunk.entries) {
    const type = entry >>> 28;
    if (type === TYPE.invalid) counts.invalid += 1;
    else if (type === TYPE.allocateOnly) counts.allocateOnly += 1;
    else if (type === TYPE.broken) counts.broken += 1;
  }
}
