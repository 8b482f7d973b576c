import { DoubtfulRanges, STALE } from "../guest/doubtful.js";
import { PAGE_SIZE } from "../guest/memory.js";
import type { PageMap } from "../guest/page-map.js";
import type { DoubtfulPart } from "../guest/salvage.js";
import type { StalePages } from "../guest/sent-passes.js";
import { firstIndex } from "../binary/search.js";

/** Bytes of an input, `end` exclusive. */
interface Bytes {
  readonly start: number;
  readonly end: number;
}

interface Pages {
  readonly first: number;
  /** Exclusive. */
  readonly end: number;
}

const SHIFTED = "is shifted if bytes were inserted into its record";

/**
 * Memory that is given although a lost part may have held a newer copy of it, or because its record may have got bytes
 * that aren't its own.
 * @param stale in pages; offsets as in the source of `memory`
 * @param shifted parts of that source, ascending and disjoint
 */
export function doubtfulMemory(
  memory: PageMap,
  stale: readonly StalePages[],
  shifted: readonly Bytes[],
): DoubtfulPart[] {
  if (stale.length + shifted.length === 0) return [];
  const old = new DoubtfulRanges(STALE);
  const moved = new DoubtfulRanges(SHIFTED);
  const add = (into: DoubtfulRanges, pages: readonly Pages[]): void => {
    for (const { first, end } of pages) into.add(first * PAGE_SIZE, end * PAGE_SIZE);
  };
  for (const { start, end, presence } of memory.ranges()) {
    if (presence === "absent") continue;
    const [from, to] = [start / PAGE_SIZE, end / PAGE_SIZE];
    // when a page of zeros was named isn't known
    if (presence === "zero") add(old, staleOf(stale, from, to, -1));
    else {
      for (const walk = memory.runs(from, to); walk.next(); ) {
        const { frame, count, code } = walk;
        add(old, staleOf(stale, frame, frame + count, code));
        add(moved, shiftedOf(shifted, frame, count, code));
      }
    }
  }
  return [...old.parts(), ...moved.parts()];
}

/** Of pages whose contents follow one another from an offset on (-1: they are nowhere) those that may be older. */
function staleOf(stale: readonly StalePages[], first: number, end: number, offset: number): Pages[] {
  const found: Pages[] = [];
  for (const { from, to, at } of stale) {
    const before = offset < 0 ? end : Math.min(end, first + Math.ceil((at - offset) / PAGE_SIZE));
    const pages = { first: Math.max(first, from), end: Math.min(before, to) };
    if (pages.first < pages.end) found.push(pages);
  }
  return found.sort((a, b) => a.first - b.first);
}

function shiftedOf(shifted: readonly Bytes[], first: number, count: number, offset: number): Pages[] {
  const found: Pages[] = [];
  const stop = offset + count * PAGE_SIZE;
  for (
    let i = firstIndex(shifted.length, (k) => (shifted[k]?.end ?? 0) > offset);
    i < shifted.length;
    i += 1
  ) {
    const { start, end } = shifted[i] ?? { start: stop, end: stop };
    if (start >= stop) break;
    const from = first + Math.max(0, Math.floor((start - offset) / PAGE_SIZE));
    found.push({ first: from, end: Math.min(first + count, first + Math.ceil((end - offset) / PAGE_SIZE)) });
  }
  return found;
}
