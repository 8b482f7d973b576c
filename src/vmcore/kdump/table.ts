import type { KdumpFile } from "./read.js";
import { pageDescriptor } from "./layout.js";
import { type Descriptor, isPossible, type KdumpPages } from "./pages.js";
import type { Span } from "../../guest/spans.js";

/*
 * Every writer puts the contents of pages one after another, in the order of the pages, and zero pages share one block at
 * the start: each descriptor begins where the one before ends. A descriptor that doesn't is damaged, or a copy of another.
 */

const SIZE = pageDescriptor.size;
/** Runs that are weighed against one another: a real table has one, one with a damaged place a few. */
const MOST_RUNS = 1024;
/** Offsets of stored blocks that are counted to find the shared one. */
const MOST_COUNTED = 1 << 16;

/** What the order of contents says of a table of descriptors. */
export interface TableSurvey {
  /** Descriptors of the table, by where contents begin; undefined where that isn't sure. */
  readonly count: number | undefined;
  /** Where contents begin; undefined where no two descriptors follow one another. */
  readonly dataStart: number | undefined;
  /** Descriptors that can't be believed: ascending, disjoint. */
  readonly bad: readonly Span[];
}

/** Descriptors in a row that follow one another; zero pages between them aside. */
interface Run {
  readonly first: number;
  last: number;
  readonly start: number;
  end: number;
  /** Where the last one's contents begin: its size is its own word until another run begins where they end. */
  lastStart: number;
  weight: number;
}

/** Watches descriptors go by: whether a table is as every writer makes it. */
export class TableWatch {
  /** Lowest offset of contents. */
  low = Number.MAX_SAFE_INTEGER;
  /** Descriptors that don't follow the one before. */
  breaks = 0;
  /** Where the contents end that reach furthest. */
  end = 0;
  readonly #blockSize: number;
  #next = -1;

  constructor(blockSize: number) {
    this.#blockSize = blockSize;
  }

  /** Takes the next descriptor; `found` is possible. */
  see({ offset, size, flags }: Descriptor): void {
    this.end = Math.max(this.end, offset + size);
    if (offset === this.#next) {
      this.#next += size;
      return;
    }
    if (offset <= this.low && flags === 0 && size === this.#blockSize) {
      // the shared block of zeros
      if (this.#next >= 0 && offset < this.low && this.low !== offset + size) this.breaks += 1;
      this.low = offset;
      return;
    }
    if (this.#next >= 0 || (this.low < offset && offset !== this.low + this.#blockSize)) this.breaks += 1;
    this.low = Math.min(this.low, offset);
    this.#next = offset + size;
  }
}

/** Walks the descriptors of a file and finds those that are in the order of their contents. */
export async function surveyTable(file: KdumpFile, pages: KdumpPages): Promise<TableSurvey> {
  const { first, limit, shared, dataStart } = await findContents(file, pages);
  if (dataStart === undefined) return { count: undefined, dataStart, bad: [] };
  const room = (dataStart - file.descriptorOffset) / SIZE;
  const stop = Math.min(limit, Math.ceil(room));
  const runs: Run[] = [];
  let plausible = 0;
  let used = 0;
  let open: Run | undefined;
  for (let i = 0; i < stop; i += 1) {
    const found = pages.descriptor(first + i);
    const descriptor = found instanceof Promise ? await found : found;
    if (!isPossible(file, descriptor)) continue;
    used = i + 1;
    if (descriptor.offset === shared) continue;
    plausible += 1;
    const { offset, size } = descriptor;
    if (open?.end === offset) {
      open.last = i;
      open.end += size;
      open.lastStart = offset;
      open.weight += 1;
      continue;
    }
    if (open !== undefined) addRun(runs, open);
    open = { first: i, last: i, start: offset, end: offset + size, lastStart: offset, weight: 1 };
  }
  if (open !== undefined) addRun(runs, open);
  // a part of a split dump has room for the descriptors of all parts
  const whole = file.isSplit ? used : room;
  const count = Number.isInteger(whole) ? whole : undefined;
  const kept = heaviest(runs, file.blockSize);
  const weight = kept.reduce((sum, run) => sum + run.weight, 0);
  // another order than any known writer's proves nothing
  if (weight * 2 < plausible) return { count, dataStart, bad: [] };
  const isShared = shared === dataStart;
  const bounds = {
    start: count === undefined ? undefined : dataStart + (isShared ? file.blockSize : 0),
    end: file.subHeader.offset_eraseinfo > 0 ? file.subHeader.offset_eraseinfo : file.source.size,
  };
  const bad = await badWithin(file, pages, kept, { first, stop: count ?? stop, shared, ...bounds });
  return { count, dataStart, bad };
}

/** Takes a run, and none of those of one descriptor while there are too many. */
function addRun(runs: Run[], run: Run): void {
  if (runs.length < MOST_RUNS || run.weight > 1) runs.push(run);
}

/** Where contents begin, and the block that zero pages share. */
async function findContents(
  file: KdumpFile,
  pages: KdumpPages,
): Promise<{ first: number; limit: number; shared: number | undefined; dataStart: number | undefined }> {
  const first = pages.firstToken;
  const limit = pages.endToken - first;
  const counts = new Map<number, number>();
  let low = Number.POSITIVE_INFINITY;
  let [start, end] = [-1, -1];
  let seen = 0;
  for (let i = 0; i < limit && file.descriptorOffset + i * SIZE < low; i += 1) {
    const found = pages.descriptor(first + i);
    const descriptor = found instanceof Promise ? await found : found;
    if (!isPossible(file, descriptor)) continue;
    const { offset, size, flags } = descriptor;
    seen += 1;
    if (offset === end) low = Math.min(low, start);
    else if (flags === 0 && (counts.size < MOST_COUNTED || counts.has(offset)))
      counts.set(offset, (counts.get(offset) ?? 0) + 1);
    [start, end] = [offset, offset + size];
  }
  let shared: number | undefined;
  let most = 1;
  for (const [offset, count] of counts) if (count > most) [shared, most] = [offset, count];
  // a zero page may come once
  if (shared === undefined && counts.has(low - file.blockSize)) shared = low - file.blockSize;
  if (shared !== undefined) low = Math.min(low, shared);
  const dataStart = low === Number.POSITIVE_INFINITY || seen === 0 ? undefined : low;
  return { first, limit, shared, dataStart };
}

/** Whether a run can come after another: what is between them can have the bytes between their contents. */
function canFollow(a: Run, b: Run, blockSize: number): boolean {
  const between = b.first - a.last;
  const bytes = b.start - a.lastStart;
  return bytes >= 0 && bytes <= between * blockSize;
}

/** The runs of most descriptors that are in order together. */
function heaviest(all: readonly Run[], blockSize: number): readonly Run[] {
  const least =
    all.length <= MOST_RUNS ? 0 : (all.map((run) => run.weight).sort((a, b) => b - a)[MOST_RUNS] ?? 0);
  const runs = all.length <= MOST_RUNS ? all : all.filter((run) => run.weight > least);
  const several = runs.filter((run) => run.weight > 1);
  const candidates = several.length === 0 ? runs : several;
  const best: { readonly run: Run; readonly weight: number; readonly before: number }[] = [];
  let top = -1;
  for (const run of candidates) {
    let before = -1;
    for (const [i, other] of best.entries())
      if (other.weight > (best[before]?.weight ?? 0) && canFollow(other.run, run, blockSize)) before = i;
    best.push({ run, weight: run.weight + (best[before]?.weight ?? 0), before });
    if ((best.at(-1)?.weight ?? 0) > (best[top]?.weight ?? 0)) top = best.length - 1;
  }
  const kept: Run[] = [];
  for (let at = best[top]; at !== undefined; at = best[at.before]) kept.push(at.run);
  return kept.toReversed();
}

interface Bounds {
  /** Number of the table's first descriptor in the dump. */
  readonly first: number;
  /** Descriptors of the table. */
  readonly stop: number;
  readonly shared: number | undefined;
  /** Where the first page's own contents begin, where that is known. */
  readonly start: number | undefined;
  /** Where the last one's end. */
  readonly end: number;
}

/** Descriptors between the runs that are kept, but for those of zero pages. */
async function badWithin(
  file: KdumpFile,
  pages: KdumpPages,
  kept: readonly Run[],
  bounds: Bounds,
): Promise<Span[]> {
  const bad: Span[] = [];
  const add = (start: number, end: number): void => {
    if (start < end) bad.push({ start: bounds.first + start, end: bounds.first + end });
  };
  let from = 0;
  let before = bounds.start;
  for (let k = 0; k <= kept.length; k += 1) {
    const run = kept[k];
    const to = run?.first ?? bounds.stop;
    // a file that ends early says nothing of its last pages
    const after = run?.start ?? ((before ?? 0) > bounds.end ? undefined : bounds.end);
    if (from < to) {
      const gap = await classify(file, pages, bounds, from, to);
      const isWhole = before !== undefined && after !== undefined && before === after;
      const isUnknown = before === undefined || after === undefined;
      if (isWhole || isUnknown) for (const at of gap.others) add(at, at + 1);
      else if (gap.faults === undefined) add(from, to);
      else {
        const { start, end } = gap.faults;
        for (const at of gap.others) if (at < start) add(at, at + 1);
        add(start, end);
        for (const at of gap.others) if (at >= end) add(at, at + 1);
      }
    }
    if (run === undefined) break;
    const next = kept[k + 1];
    const isLong = next !== undefined && run.end > next.start;
    if (isLong) add(run.last, run.last + 1);
    from = run.last + 1;
    before = isLong ? undefined : run.end;
  }
  return bad;
}

/** Of descriptors between two runs: those of contents, and from the first impossible to the last. */
async function classify(
  file: KdumpFile,
  pages: KdumpPages,
  { first, shared }: Bounds,
  from: number,
  to: number,
): Promise<{ others: readonly number[]; faults: Span | undefined }> {
  const others: number[] = [];
  let faults: Span | undefined;
  for (let i = from; i < to; i += 1) {
    const found = pages.descriptor(first + i);
    const descriptor = found instanceof Promise ? await found : found;
    if (!isPossible(file, descriptor)) faults = { start: faults?.start ?? i, end: i + 1 };
    else if (descriptor.offset !== shared) others.push(i);
  }
  return { others, faults };
}
