import type { GuestInspection } from "../../guest/inspection.js";

export interface PresentOptions {
  readonly verbose: boolean;
}

/** Turns one kind of inspection into lines for people. */
export type Presenter = (inspection: GuestInspection, options: PresentOptions) => readonly string[];

/** A titled block of aligned `name  value` lines; rows without a value are left out. */
export function factLines(
  title: string,
  facts: readonly (readonly [name: string, value: string | undefined])[],
): string[] {
  const known = facts.filter((fact): fact is readonly [string, string] => fact[1] !== undefined);
  if (known.length === 0) return [];
  const width = Math.max(...known.map(([name]) => name.length));
  return [title, ...known.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}

/** Lines moved to the right. */
export function indented(lines: readonly string[], by = 2): string[] {
  return lines.map((line) => `${" ".repeat(by)}${line}`);
}

/** `1,044,480`. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 page`, `4,092 pages`. */
export function counted(value: number, noun: string, plural = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}
