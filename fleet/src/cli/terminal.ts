import { clearLine, cursorTo } from "node:readline";
import { styleText } from "node:util";
import type { Result, Status } from "../jobs/outcome.js";

/** Prints a line on standard output. */
export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** Prints a line on standard error. */
export function printError(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Prints one JSON document on standard output. */
export function printJson(document: unknown): void {
  print(JSON.stringify(document, undefined, 2));
}

const COLOURS: Readonly<Record<Status, "green" | "red" | "yellow">> = {
  good: "green",
  bad: "red",
  failed: "yellow",
};

/** A status in its colour where standard output is a terminal and NO_COLOR is not set. */
function paintStatus(status: Status, text: string = status): string {
  const plain = !process.stdout.isTTY || (process.env.NO_COLOR ?? "") !== "";
  return plain ? text : styleText(COLOURS[status], text, { validateStream: false });
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `192.0 MiB`; exact below one KiB. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit += 1) value /= 1024;
  return unit === 0 ? `${Math.round(bytes)} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** `45 s`, `12 min`, `3 h 20 min`. */
export function duration(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  if (minutes < 100) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const BAR_WIDTH = 30;

/** `[#########.....] 64%`. @param share 0 to 1 */
export function bar(share: number): string {
  const held = Math.min(1, Math.max(0, share));
  return `[${"#".repeat(Math.floor(held * BAR_WIDTH)).padEnd(BAR_WIDTH, ".")}] ${Math.floor(held * 100)}%`;
}

/** `1 input`, `3 inputs`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** One line on what became of an input. */
export function resultLine(result: Result): string {
  const code =
    result.status === "good" ? undefined : result.findings.find(({ severity }) => severity === "error")?.code;
  return `${paintStatus(result.status, result.status.padEnd(6))}  ${result.source}: ${result.verdict}${code === undefined ? "" : ` [${code}]`}`;
}

const INTERVAL_MS = 100;

/** A line on standard error that is written over, only on a terminal, at most ten times a second. */
export class StatusLine {
  readonly #enabled: boolean;
  #last = 0;
  #shown = false;

  constructor(enabled: boolean) {
    this.#enabled = enabled && process.stderr.isTTY;
  }

  update(text: string): void {
    const now = performance.now();
    if (!this.#enabled || now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    this.clear();
    process.stderr.write(text.slice(0, process.stderr.columns - 1));
    this.#shown = true;
  }

  /** Makes room for other lines. */
  clear(): void {
    if (!this.#shown) return;
    cursorTo(process.stderr, 0);
    clearLine(process.stderr, 0);
    this.#shown = false;
  }
}
