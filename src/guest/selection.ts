import type { GuestImage, UnplacedBlock } from "./image.js";
import { isUnpopulated, type MemoryRange } from "./memory.js";
import type { AddressRange } from "./output-format.js";

const EVERYTHING: AddressRange = { start: 0, end: Number.MAX_SAFE_INTEGER };

/** The ranges of a guest's memory cut to what was asked for, and their totals. */
export interface Selection {
  /** Readable memory: present and zero, ascending, joined where neighbours touch. */
  readonly runs: readonly AddressRange[];
  readonly missing: readonly MemoryRange[];
  /** Memory that may belong to the selection: nobody knows its addresses. Counted in `absent`. */
  readonly unplaced: readonly UnplacedBlock[];
  readonly present: number;
  readonly zero: number;
  readonly absent: number;
}

/** Cuts a guest's memory to `range` and joins what can be read into runs. */
export function selectMemory(guest: GuestImage, range: AddressRange = EVERYTHING): Selection {
  const runs: { start: number; end: number }[] = [];
  const missing: MemoryRange[] = [];
  const totals = { present: 0, zero: 0, absent: 0 };
  let known = 0;
  for (const whole of guest.memory.ranges()) {
    const start = Math.max(whole.start, range.start);
    const end = Math.min(whole.end, range.end);
    known += Math.max(0, end - start);
    // where the guest itself has no memory nothing is missing
    if (start >= end || isUnpopulated(whole)) continue;
    totals[whole.presence] += end - start;
    if (whole.presence === "absent") {
      missing.push({ ...whole, start, end });
      continue;
    }
    const last = runs.at(-1);
    if (last?.end === start) last.end = end;
    else runs.push({ start, end });
  }
  // a range all of which is known has no room for it
  const unplaced = known === range.end - range.start ? [] : (guest.unplaced ?? []);
  for (const { size } of unplaced) totals.absent += size;
  return { runs, missing, unplaced, ...totals };
}
