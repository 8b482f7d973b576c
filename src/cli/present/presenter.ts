import type { GuestInspection } from "../../guest/inspection.js";
import { paint } from "../terminal.js";

export interface PresentOptions {
  readonly verbose: boolean;
}

/** A titled part of an inspection's text: `Title  note`, then its lines, moved to the right. */
export interface Section {
  readonly title: string;
  /** On the title's line. */
  readonly note?: string | undefined;
  readonly lines: readonly string[];
}

/** Turns what is special to one kind of inspection into sections for people. */
export type Presenter = (inspection: GuestInspection, options: PresentOptions) => readonly Section[];

type Fact = readonly [name: string, value: string | undefined];

/** Sections as lines, a blank one before each; those that say nothing are left out. */
export function sectionLines(sections: readonly Section[]): string[] {
  return sections
    .filter(({ note = "", lines }) => note !== "" || lines.length > 0)
    .flatMap(({ title, note, lines }) => [
      "",
      note === undefined ? paint("bold", title) : `${paint("bold", title)}  ${note}`,
      ...indented(lines),
    ]);
}

/** Aligned `name  value` lines; rows without a value are left out. */
export function facts(rows: readonly Fact[]): string[] {
  const known = rows.filter((fact): fact is readonly [string, string] => fact[1] !== undefined);
  const width = known.reduce((most, [name]) => Math.max(most, name.length), 0);
  return known.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

/** A title with aligned `name  value` lines below it. */
export function factLines(title: string, rows: readonly Fact[]): string[] {
  const lines = facts(rows);
  return lines.length === 0 ? [] : [title, ...indented(lines)];
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

/** `serial, e1000 ×2`: names once, in their order. */
export function grouped(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Array.from(counts, ([name, n]) => (n === 1 ? name : `${name} ×${count(n)}`)).join(", ");
}

/** `0-3, 5`. */
export function idRanges(ids: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < ids.length; ) {
    let end = i;
    while (end + 1 < ids.length && ids[end + 1] === (ids[end] ?? 0) + 1) end += 1;
    parts.push(end === i ? `${ids[i]}` : `${ids[i]}-${ids[end]}`);
    i = end + 1;
  }
  return parts.length === 0 ? "none" : parts.join(", ");
}

/** `1 (id 0)`, `3 (ids 0-1, 3)`, `0`. */
export function vcpuCount(ids: readonly number[]): string {
  if (ids.length === 0) return "0";
  return `${count(ids.length)} (${ids.length === 1 ? "id" : "ids"} ${idRanges(ids)})`;
}

/** `always emulate, 2,400,139 kHz, 16338.566 s elapsed, incarnation 4`. */
export function tscText(tsc: {
  readonly mode: string;
  readonly khz: number;
  readonly nsec: string;
  readonly incarnation: number;
}): string {
  const elapsed = (Number(tsc.nsec) / 1e9).toFixed(3);
  return `${tsc.mode}, ${count(tsc.khz)} kHz, ${elapsed} s elapsed, incarnation ${tsc.incarnation}`;
}
