import type { MemoryRange } from "../../guest/memory.js";
import { hex, size } from "../terminal.js";

/** `12.5%`; never 0% or 100% for what isn't. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return "0%";
  const value = (100 * part) / whole;
  if (part > 0 && value < 0.1) return "under 0.1%";
  if (part < whole && value > 99.9) return "over 99.9%";
  return `${value.toFixed(1)}%`;
}

/** One line a region that is not there: where, how much of the guest's memory, why. */
export function missingLines(missing: readonly MemoryRange[], whole: number): string[] {
  return missing.map(({ start, end, reason }) => {
    const length = end - start;
    return `missing ${hex(start)}-${hex(end)} (${size(length)}, ${percent(length, whole)} of guest memory): ${reason?.text ?? "not in the input"}`;
  });
}
