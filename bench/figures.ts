/** What figures are counted in; `×` is a ratio. */
export type Unit = "×" | "s" | "MiB" | "KB" | "MB/s" | "M/s" | "/s" | "frames/s";

/** One figure: what was measured, in runs, against what, and what is demanded of it. */
export interface Figure {
  readonly name: string;
  /** One number a run, in the order of the runs. */
  readonly values: readonly number[];
  readonly unit: Unit;
  /** What a ratio is of, or what else ran beside. */
  readonly peer?: string | undefined;
  /** The bar: the least that will do, or the most. None: informative. */
  readonly least?: number | undefined;
  readonly most?: number | undefined;
  /** The figure before it was worked on, measured the same way. */
  readonly before?: number | undefined;
  /** What keeps it below its bar, as measured: shown while it is below. */
  readonly limit?: string | undefined;
}

/** Something that can't be measured on this machine, and what that wants. */
export interface Missing {
  readonly name: string;
  readonly wants: string;
}

/** What one bench found. */
export interface Section {
  readonly name: string;
  readonly figures: Figure[];
  readonly missing: Missing[];
}

const sections: Section[] = [];

/** Figures from now on belong to the bench of this name. */
export function beginSection(name: string): Section {
  const section = { name, figures: [], missing: [] };
  sections.push(section);
  return section;
}

/** What was recorded so far, a section a bench. */
export const recorded = (): readonly Section[] => sections;

const current = (): Section => sections.at(-1) ?? beginSection("figures");

/** The middle of some numbers; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** A figure's value: the median of its runs; of memory the largest, as every run has to keep within the bar. */
export function valueOf({ values, unit }: Figure): number {
  return unit === "MiB" ? Math.max(...values) : median(values);
}

/** Whether a figure keeps its bar; undefined: it has none. */
export function isMet(figure: Figure): boolean | undefined {
  const value = valueOf(figure);
  if (figure.least !== undefined) return value >= figure.least;
  return figure.most === undefined ? undefined : value <= figure.most;
}

/** A number with the digits that mean something, and its unit. */
export function withUnit(value: number, unit: Unit): string {
  const digits = unit === "s" || unit === "×" || unit === "M/s" ? (Math.abs(value) < 10 ? 2 : 1) : 0;
  return `${value.toFixed(digits)} ${unit}`.replace(" /s", "/s");
}

/** The bar in words; empty without one. */
export function barOf({ least, most, unit }: Figure): string {
  if (least !== undefined) return `≥ ${least} ${unit}`.replace(" /s", "/s");
  return most === undefined ? "" : `≤ ${most} ${unit}`.replace(" /s", "/s");
}

/** Records and prints one figure. */
export function record(figure: Figure): void {
  current().figures.push(figure);
  const met = isMet(figure);
  const mark = met === undefined ? " " : met ? "+" : "-";
  const of = figure.peer === undefined ? "" : `of ${figure.peer}`;
  const value = withUnit(valueOf(figure), figure.unit).padStart(12);
  const bar = barOf(figure);
  process.stdout.write(
    `${mark} ${figure.name.padEnd(58)} ${value}  ${[of, bar].filter(Boolean).join(", ")}\n`,
  );
}

/** Records that something can't be measured here, and what it wants. */
export function missing(name: string, wants: string): void {
  current().missing.push({ name, wants });
  process.stdout.write(`  ${name.padEnd(58)} ${"not here".padStart(12)}  wants ${wants}\n`);
}
