import { firstIndex } from "../../binary/search.js";
import { isUnpopulated, type MemoryRange, type PhysicalMemory } from "../../guest/memory.js";
import type { MemoryKind, MemoryTable } from "./protocol.js";

/** Runs listed at most: 17 bytes each. */
const MOST_RUNS = 1 << 20;
/** Kinds kept apart at most; a file can make up a reason a page. */
const MOST_KINDS = 48;
const OTHER_REASONS = "other reasons";

type MutableKind = { -readonly [K in keyof MemoryKind]: MemoryKind[K] };

/** The ranges of a guest's memory as columns. @param most runs; what follows is cut off and `cutAt` says where */
export function memoryTable(memory: PhysicalMemory, most = MOST_RUNS): MemoryTable {
  const legend: MutableKind[] = [];
  const known = new Map<string, number>();
  let starts = new Float64Array(1024);
  let ends = new Float64Array(1024);
  let kinds = new Uint8Array(1024);
  let count = 0;
  let cutAt: number | undefined;
  for (const range of memory.ranges()) {
    if (count === most) {
      cutAt = range.start;
      break;
    }
    if (count === starts.length) {
      starts = grown(starts, new Float64Array(2 * count));
      ends = grown(ends, new Float64Array(2 * count));
      kinds = grown(kinds, new Uint8Array(2 * count));
    }
    const kind = kindOf(range, legend, known);
    const entry = legend[kind];
    if (entry !== undefined) entry.bytes += range.end - range.start;
    starts[count] = range.start;
    ends[count] = range.end;
    kinds[count] = kind;
    count += 1;
  }
  return {
    starts: starts.slice(0, count),
    ends: ends.slice(0, count),
    kinds: kinds.slice(0, count),
    legend,
    ...(cutAt === undefined ? {} : { cutAt }),
  };
}

function grown<T extends Float64Array | Uint8Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}

function kindOf(range: MemoryRange, legend: MutableKind[], known: Map<string, number>): number {
  const { presence } = range;
  const unpopulated = isUnpopulated(range);
  const full = legend.length >= MOST_KINDS;
  const name = (reason: string): string => `${presence} ${unpopulated} ${reason}`;
  const own = known.get(name(range.reason?.text ?? ""));
  if (own !== undefined) return own;
  const reason = full ? OTHER_REASONS : range.reason?.text;
  const shared = known.get(name(reason ?? ""));
  if (shared !== undefined) return shared;
  legend.push({
    presence,
    bytes: 0,
    ...(reason === undefined ? {} : { reason }),
    ...(unpopulated ? { unpopulated } : {}),
  });
  known.set(name(reason ?? ""), legend.length - 1);
  return legend.length - 1;
}

/** Index of the run that holds `address`, or -1 - i where i is the first run after it. */
export function findRun({ starts, ends }: Pick<MemoryTable, "starts" | "ends">, address: number): number {
  const low = firstIndex(ends.length, (i) => (ends[i] ?? 0) > address);
  const start = starts[low];
  return start !== undefined && start <= address ? low : -1 - low;
}
