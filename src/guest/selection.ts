import type { GuestImage } from "./image.js";
import { isUnpopulated, type MemoryRange } from "./memory.js";
import type { AddressRange } from "./output-format.js";

const EVERYTHING: AddressRange = { start: 0, end: Number.MAX_SAFE_INTEGER };

/** The ranges of a guest's memory cut to what was asked for, and their totals. */
export interface Selection {
  /** Readable memory: present and zero, ascending, joined where neighbours touch. */
  readonly runs: readonly AddressRange[];
  readonly missing: readonly MemoryRange[];
  readonly present: number;
  readonly zero: number;
  readonly absent: number;
}

/** Cuts a guest's memory to `range` and joins what can be read into runs. */
export function selectMemory(guest: GuestImage, range: AddressRange = EVERYTHING): Selection {
  const runs: { start: number; end: number }[] = [];
  const missing: MemoryRange[] = [];
  const totals = { present: 0, zero: 0, absent: 0 };
  for (const whole of guest.memory.ranges()) {
    const start = Math.max(whole.start, range.start);
    const end = Math.min(whole.end, range.end);
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
  return { runs, missing, ...totals };
}
