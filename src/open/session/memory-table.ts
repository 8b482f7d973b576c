import { firstIndex } from "../../binary/search.js";
import { isUnpopulated, type PhysicalMemory } from "../../guest/memory.js";
import type { MemoryKind, MemoryTable } from "./protocol.js";

/** Runs listed at most: 17 bytes each. */
const MOST_RUNS = 1 << 20;
/** Kinds kept apart at most; a file can make up a reason a page. */
const MOST_KINDS = 48;
const OTHER_REASONS = "other reasons";

type MutableKind = { -readonly [K in keyof MemoryKind]: MemoryKind[K] };

/** A run of memory and its kind, without the bytes of all. */
export interface KindRun {
  readonly start: number;
  readonly end: number;
  readonly kind: Omit<MemoryKind, "bytes">;
}

/** Gathers runs, ascending and disjoint, as columns. */
export class TableBuilder {
  readonly #most: number;
  readonly #legend: MutableKind[] = [];
  readonly #known = new Map<string, number>();
  #starts = new Float64Array(1024);
  #ends = new Float64Array(1024);
  #kinds = new Uint8Array(1024);
  #count = 0;

  readonly #joins: boolean;

  /** @param joins neighbours of one kind become one run @param most runs */
  constructor(joins: boolean, most = MOST_RUNS) {
    this.#joins = joins;
    this.#most = most;
  }

  /** False: there are too many runs, this one is left out. */
  add({ start, end, kind }: KindRun): boolean {
    const last = this.#count - 1;
    const index = kindOf(kind, this.#legend, this.#known);
    const joins = this.#joins && this.#ends[last] === start && this.#kinds[last] === index;
    if (!joins && this.#count === this.#most) return false;
    const entry = this.#legend[index];
    if (entry !== undefined) entry.bytes += end - start;
    if (joins) {
      this.#ends[last] = end;
      return true;
    }
    if (this.#count === this.#starts.length) {
      this.#starts = grown(this.#starts, new Float64Array(2 * this.#count));
      this.#ends = grown(this.#ends, new Float64Array(2 * this.#count));
      this.#kinds = grown(this.#kinds, new Uint8Array(2 * this.#count));
    }
    this.#starts[this.#count] = start;
    this.#ends[this.#count] = end;
    this.#kinds[this.#count] = index;
    this.#count += 1;
    return true;
  }

  /** @param cutAt where the runs that are left out begin */
  finish(cutAt?: number): MemoryTable {
    return {
      starts: this.#starts.slice(0, this.#count),
      ends: this.#ends.slice(0, this.#count),
      kinds: this.#kinds.slice(0, this.#count),
      legend: this.#legend,
      ...(cutAt === undefined ? {} : { cutAt }),
    };
  }
}

/** The ranges of a guest's memory as columns. @param most runs; what follows is cut off and `cutAt` says where */
export function memoryTable(memory: PhysicalMemory, most = MOST_RUNS): MemoryTable {
  const table = new TableBuilder(false, most);
  for (const range of memory.ranges()) {
    const { start, end, presence, reason } = range;
    const kind = {
      presence,
      ...(reason === undefined ? {} : { reason: reason.text }),
      ...(isUnpopulated(range) ? { unpopulated: true as const } : {}),
    };
    if (!table.add({ start, end, kind })) return table.finish(start);
  }
  return table.finish();
}

function grown<T extends Float64Array | Uint8Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}

function kindOf(kind: KindRun["kind"], legend: MutableKind[], known: Map<string, number>): number {
  const name = (reason: string): string =>
    `${kind.presence} ${kind.unpopulated === true} ${kind.tone} ${reason}`;
  const own = known.get(name(kind.reason ?? ""));
  if (own !== undefined) return own;
  const isFull = legend.length >= MOST_KINDS;
  const reason = isFull ? OTHER_REASONS : (kind.reason ?? "");
  const shared = known.get(name(reason));
  if (shared !== undefined) return shared;
  legend.push({ ...kind, bytes: 0, ...(reason === "" ? {} : { reason }) });
  known.set(name(reason), legend.length - 1);
  return legend.length - 1;
}

/** Index of the run that holds `address`, or -1 - i where i is the first run after it. */
export function findRun({ starts, ends }: Pick<MemoryTable, "starts" | "ends">, address: number): number {
  const low = firstIndex(ends.length, (i) => (ends[i] ?? 0) > address);
  const start = starts[low];
  return start !== undefined && start <= address ? low : -1 - low;
}
