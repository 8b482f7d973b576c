import { viewOf } from "../../binary/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { pvContext64 } from "../../guest/pv-context.js";
import { eachFrame, MAX_FRAME, UNUSED, type XenCore } from "./read.js";
import { XEN_CORE_RULES } from "./rules.js";

/*
 * Frames ascend in the table, each entry by one or more: frame minus index never falls. Entries that break this are damaged,
 * and the heaviest sequence of runs that keeps it is believed. Between two believed runs that are as far apart in frames as in
 * entries there is one way only to fill the entries; others are lost.
 */

/** Of `arch.max_pfn` in the shared info of a 64-bit guest (Xen public interface: shared_info, arch_shared_info). */
const MAX_PFN_AT = 3088;
/** Runs shorter than this are not believed so near to damage. */
const SHORT = 4;
const NEAR = 64;

/** Entries of a table that are others than it says. */
export interface RepairedEntries {
  /** Of the first one and after the last one. */
  readonly from: number;
  readonly to: number;
  /** Frame of the first, each further one's is the next; undefined: not known. */
  readonly frame: number | undefined;
  /** Machine frame of the first; undefined: not known. */
  readonly machine: number | undefined;
}

interface Run {
  readonly index: number;
  readonly frame: number;
  readonly machine: number;
  count: number;
  isConsecutive: boolean;
}

/** Finds the damaged entries of a table and what they were; undefined where its frames ascend as they should. */
export async function repairFrames(core: XenCore): Promise<readonly RepairedEntries[] | undefined> {
  let last = -1;
  let isAscending = true;
  let unused = false;
  const { missing } = await eachFrame(core, (_, frame) => {
    if (frame === UNUSED) unused = true;
    else {
      if (unused || frame <= last || frame >= MAX_FRAME) isAscending = false;
      last = frame;
    }
  });
  const end = endOfFrames(core);
  const isForced = end !== undefined && (unused || missing > 0);
  if (isAscending && !isForced) return undefined;
  const runs = await runsOf(core);
  const believed = withoutDoubtful(heaviest(runs), runs);
  const found = repairs(believed, await lastUsed(core), core.pages, end);
  return found.length === 0 ? undefined : found;
}

/**
 * The frame after the last one of a PV guest, as its shared info has it: where a guest has as many pages as that, each frame has
 * one. undefined: not known.
 */
function endOfFrames({ isPv, sharedInfo, contexts, pages }: XenCore): number | undefined {
  const is64 = contexts.every(({ length }) => length === pvContext64.size);
  if (!isPv || !is64 || sharedInfo === undefined || sharedInfo.length < MAX_PFN_AT + 8) return undefined;
  const end = viewOf(sharedInfo).getBigUint64(MAX_PFN_AT, true);
  return end >= BigInt(pages) && end < BigInt(MAX_FRAME) ? Number(end) : undefined;
}

/** Reports the entries of a table that are damaged. */
export function reportRepairs(
  { frames, entrySize }: XenCore,
  repairs: readonly RepairedEntries[] | undefined,
  diagnostics: Diagnostics,
): void {
  for (const { from, to } of repairs ?? [])
    diagnostics.report(
      XEN_CORE_RULES.table,
      { offset: frames.offset + from * entrySize },
      `the frame numbers of pages ${from} to ${to - 1} don't ascend with those around them`,
    );
}

async function runsOf(core: XenCore): Promise<Run[]> {
  const runs: Run[] = [];
  await eachFrame(core, (index, frame, machine) => {
    if (frame === UNUSED || frame >= MAX_FRAME) return;
    const run = runs.at(-1);
    if (run !== undefined && run.index + run.count === index && run.frame + run.count === frame) {
      if (machine !== run.machine + run.count) run.isConsecutive = false;
      run.count += 1;
    } else runs.push({ index, frame, machine, count: 1, isConsecutive: true });
  });
  return runs;
}

/** One more than the last entry that is used. */
async function lastUsed(core: XenCore): Promise<number> {
  let end = 0;
  await eachFrame(core, (index, frame) => {
    if (frame !== UNUSED) end = index + 1;
  });
  return end;
}

/** The runs of most entries in all whose frames minus indexes never fall. */
function heaviest(runs: readonly Run[]): readonly Run[] {
  const keys = [...new Set(runs.map(({ frame, index }) => frame - index))].sort((a, b) => a - b);
  const rank = new Map(keys.map((key, i) => [key, i + 1]));
  /** By rank: the run that ends the heaviest sequence up to it (a Fenwick tree of maxima). */
  const tree = new Int32Array(keys.length + 1).fill(-1);
  const weight = new Float64Array(runs.length);
  const before = new Int32Array(runs.length).fill(-1);
  let best = -1;
  for (const [i, { frame, index, count }] of runs.entries()) {
    const at = frame < index ? 0 : (rank.get(frame - index) ?? 0);
    // so many entries before it don't fit below its frame
    if (at === 0) continue;
    let previous = -1;
    for (let k = at; k > 0; k -= k & -k) {
      const one = tree[k] ?? -1;
      if (one >= 0 && (previous < 0 || (weight[one] ?? 0) > (weight[previous] ?? 0))) previous = one;
    }
    weight[i] = count + (previous < 0 ? 0 : (weight[previous] ?? 0));
    before[i] = previous;
    for (let k = at; k <= keys.length; k += k & -k) {
      const one = tree[k] ?? -1;
      if (one < 0 || (weight[one] ?? 0) < (weight[i] ?? 0)) tree[k] = i;
    }
    if (best < 0 || (weight[i] ?? 0) > (weight[best] ?? 0)) best = i;
  }
  const found: Run[] = [];
  for (let i = best; i >= 0; i = before[i] ?? -1) {
    const run = runs[i];
    if (run !== undefined) found.push(run);
  }
  return found.toReversed();
}

/** Leaves out short runs that are near to entries which nothing explains. */
function withoutDoubtful(believed: readonly Run[], all: readonly Run[]): readonly Run[] {
  const kept = new Set(believed);
  /** Where entries that aren't believed are, ascending. */
  const bad: { from: number; to: number }[] = [];
  let at = 0;
  for (const run of all) {
    if (run.index > at) bad.push({ from: at, to: run.index });
    if (!kept.has(run)) bad.push({ from: run.index, to: run.index + run.count });
    at = run.index + run.count;
  }
  let next = 0;
  return believed.filter((run) => {
    if (run.count >= SHORT) return true;
    while (next < bad.length && (bad[next]?.to ?? 0) + NEAR <= run.index) next += 1;
    const near = bad[next];
    return near === undefined || near.from >= run.index + run.count + NEAR;
  });
}

/** @param used one more than the last used entry @param endFrame the frame after the last one, where that is known */
function repairs(
  believed: readonly Run[],
  used: number,
  count: number,
  endFrame: number | undefined,
): readonly RepairedEntries[] {
  const found: RepairedEntries[] = [];
  let [index, frame, machine]: [number, number, number | undefined] = [0, 0, undefined];
  for (const run of believed) {
    if (run.index > index) {
      const isForced = run.frame - frame === run.index - index;
      const isRow = machine !== undefined && run.machine - machine === run.index - index;
      found.push({
        from: index,
        to: run.index,
        frame: isForced ? frame : undefined,
        machine: isForced && isRow ? machine : undefined,
      });
    }
    index = run.index + run.count;
    frame = run.frame + run.count;
    machine = run.isConsecutive ? run.machine + run.count : undefined;
  }
  if (index < count && endFrame !== undefined && endFrame - frame === count - index) {
    found.push({ from: index, to: count, frame, machine: undefined });
    return found;
  }
  const end = Math.min(count, used);
  if (index < end) found.push({ from: index, to: end, frame: undefined, machine: undefined });
  return found;
}
