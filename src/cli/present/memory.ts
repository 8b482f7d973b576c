import type { MemorySummary } from "../../guest/inspection.js";
import type { MemoryRange } from "../../guest/memory.js";
import { hex, size, tableLines } from "../terminal.js";
import { count, counted, type PresentOptions, type Section } from "./presenter.js";

/** Ranges shown without `verbose`. */
const FEW = 12;

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

/** Rows of a table of address ranges, `end` exclusive: first and last address, size. */
export function rangeLines(
  ranges: readonly { readonly start: number; readonly end: number }[],
  leftOut: number,
  { verbose }: PresentOptions,
): string[] {
  if (ranges.length === 0) return [];
  const shown = verbose ? ranges : ranges.slice(0, FEW);
  const titles = ["first", "last", "size"].map((title) => ({ title, align: "right" as const }));
  const more = ranges.length - shown.length;
  return [
    ...tableLines(
      titles,
      shown.map(({ start, end }) => [hex(start), hex(end - 1), size(end - start)]),
    ),
    ...(more > 0
      ? [`and ${counted(more + leftOut, "more range")}: --verbose shows ${leftOut > 0 ? "more" : "them"}`]
      : []),
    ...(more === 0 && leftOut > 0 ? [`and ${count(leftOut)} more`] : []),
  ];
}

/** The guest's memory: where there is some, and how much of it the input lacks, by reason. */
export function memorySection(
  { present, zero, absent, regions, regionsLeftOut, missing }: MemorySummary,
  options: PresentOptions,
): Section {
  const whole = present + zero + absent;
  return {
    title: "Memory",
    note: `${size(whole)} in ${counted(regions.length + regionsLeftOut, "range")}`,
    lines: [
      ...rangeLines(regions, regionsLeftOut, options),
      ...missing
        .filter(({ kind }) => kind !== "unpopulated")
        .map(({ text, bytes }) => `not here: ${size(bytes)} (${percent(bytes, whole)}), ${text}`),
    ],
  };
}
