import type { MemoryTable } from "../../../src/open/session/protocol.js";
import type { Client } from "../session/client.js";

const PAGE = 4096;
/** Pages asked for in one call. */
const BATCH = 4096;
/** Pages listed at most; all are counted. */
const MOST_CHANGED = 1 << 18;

/** Two memories page by page, as far as they were compared. */
export interface MemoryDifference {
  /** Pages done, of how many. */
  readonly done: number;
  readonly total: number;
  readonly same: number;
  /** Addresses of changed pages, ascending. */
  readonly changed: readonly number[];
  /** Pages whose contents are known in one of the two. */
  readonly oneOnly: number;
}

interface Extent {
  readonly start: number;
  readonly end: number;
}

/** Page-aligned stretches where either has contents. */
function extentsOf(tables: readonly MemoryTable[]): readonly Extent[] {
  const all: Extent[] = [];
  for (const { starts, ends, kinds, legend } of tables) {
    for (const [i, start] of starts.entries()) {
      if (legend[kinds[i] ?? 0]?.presence === "absent") continue;
      all.push({ start: start - (start % PAGE), end: Math.ceil((ends[i] ?? 0) / PAGE) * PAGE });
    }
  }
  all.sort((a, b) => a.start - b.start);
  const joined: { start: number; end: number }[] = [];
  for (const { start, end } of all) {
    const last = joined.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else joined.push({ start, end });
  }
  return joined;
}

/** Compares two memories by checksums of their pages. @param update told after each step */
export async function compareMemory(
  a: Client,
  tableA: MemoryTable,
  b: Client,
  tableB: MemoryTable,
  update: (difference: MemoryDifference) => void,
  signal: AbortSignal,
): Promise<void> {
  const extents = extentsOf([tableA, tableB]);
  const total = extents.reduce((sum, { start, end }) => sum + (end - start) / PAGE, 0);
  let done = 0;
  let same = 0;
  let oneOnly = 0;
  const changed: number[] = [];
  for (const { start, end } of extents) {
    for (let at = start; at < end; at += BATCH * PAGE) {
      const pages = Math.min(BATCH, (end - at) / PAGE);
      const [one, two] = await Promise.all(
        [a, b].map((client) => client.call("hashPages", { start: at, pages })),
      );
      if (signal.aborted || one === undefined || two === undefined) return;
      for (let i = 0; i < pages; i += 1) {
        const [inOne, inTwo] = [one.known[i] === 1, two.known[i] === 1];
        if (inOne !== inTwo) oneOnly += 1;
        if (!inOne || !inTwo) continue;
        const isSame =
          one.hashes[2 * i] === two.hashes[2 * i] && one.hashes[2 * i + 1] === two.hashes[2 * i + 1];
        if (isSame) same += 1;
        else if (changed.length < MOST_CHANGED) changed.push(at + i * PAGE);
      }
      done += pages;
      update({ done, total, same, changed: changed.slice(), oneOnly });
    }
  }
  update({ done, total, same, changed, oneOnly });
}
