import type { Result } from "../jobs/outcome.js";
import { errorCodes } from "../jobs/outcome.js";

const COLUMNS: readonly (readonly [string, (result: Result) => string | number | null])[] = [
  ["source", (result) => result.source],
  ["action", (result) => result.action],
  ["status", (result) => result.status],
  ["verdict", (result) => result.verdict],
  ["codes", (result) => errorCodes(result).join(" ")],
  ["errors", (result) => result.errors],
  ["warnings", (result) => result.warnings],
  ["format", (result) => result.format ?? null],
  ["size", (result) => result.size],
  ["seconds", (result) => result.seconds],
  ["output", (result) => result.output?.path ?? null],
  ["began", (result) => result.began],
  ["host", (result) => result.host],
  ["version", (result) => result.version],
  ["key", (result) => result.key],
];

/** The line of titles. */
export const csvHead = `${COLUMNS.map(([title]) => title).join(",")}\r\n`;

/** One result as a line of CSV (RFC 4180). */
export function csvLine(result: Result): string {
  return `${COLUMNS.map(([, valueOf]) => cell(valueOf(result))).join(",")}\r\n`;
}

function cell(value: string | number | null): string {
  if (typeof value === "number") return String(value);
  // a spreadsheet takes such a text for a formula, and names of files are not ours
  const text = (value ?? "").replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
