import { once } from "node:events";
import { styleText } from "node:util";
import { escapeControls, escapeJsonControls } from "./escape.js";
import { foldLine } from "./fold.js";
import { itemText, jsonPieces, listBegin, listEnd, PIECE } from "./json-text.js";

/**
 * Everything that the programs print goes through this module: control characters of an input are written out, lines
 * fit the terminal, quiet is quiet. No other file of the command line writes to a stream.
 */

export type Style = Parameters<typeof styleText>[0];

const SLOT = "\u0000";

/** What is put for ESC in our own colours, once there are any. */
interface Mark {
  readonly text: string;
  /** A colour with the mark in it. */
  readonly pattern: RegExp;
}

let mark: Mark | undefined;

/** The mark of this run: an input can't know it, so that its own escapes are never taken for ours. */
function ownMark(): Mark {
  if (mark !== undefined) return mark;
  // most runs have no colours, and Node's cryptography takes long to load
  const text = `\u001b${process.getBuiltinModule("node:crypto").randomBytes(8).toString("hex")}`;
  mark = { text, pattern: new RegExp(`(${text}\\[[0-9;]*m)`) };
  return mark;
}

interface Settings {
  /** Nothing but errors. */
  quiet: boolean;
  /** The answer is one JSON document. */
  json: boolean;
}

const settings: Settings = { quiet: false, json: false };
let documentPrinted = false;
/** Lines waiting for the pager. */
let held: string[] | undefined;

/** Sets what the command line asks of all output. */
export function configureOutput(wanted: Partial<Settings>): void {
  Object.assign(settings, wanted);
}

/** Whether a JSON document is wanted and none was printed yet. */
export function lacksDocument(): boolean {
  return settings.json && !documentPrinted;
}

/** A terminal that knows more than lines: not TERM=dumb. */
export function isCapable(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && process.env.TERM !== "dumb";
}

/** Text in colour where the stream is a capable terminal and NO_COLOR is not set. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  if (!isCapable(stream) || (process.env.NO_COLOR ?? "") !== "") return text;
  const [before = "", after = ""] = styleText(style, SLOT, { validateStream: false }).split(SLOT);
  const { text: esc } = ownMark();
  const marked = (codes: string): string => codes.replaceAll("\u001b", esc);
  return `${marked(before)}${text}${marked(after)}`;
}

/** The text as it may reach `stream`: escaped, and folded to a terminal's width. */
function presentable(text: string, stream: NodeJS.WriteStream): string {
  const safe =
    mark === undefined
      ? escapeControls(text)
      : text
          .split(mark.pattern)
          .map((part, i) => (i % 2 === 1 ? part : escapeControls(part)))
          .join("");
  const { columns } = stream;
  const lines =
    stream.isTTY && columns > 0
      ? safe.split("\n").flatMap((line) => foldLine(line, columns, mark?.pattern))
      : [safe];
  const folded = lines.join("\n");
  return mark === undefined ? folded : folded.replaceAll(mark.text, "\u001b");
}

/** Prints a line (or several) on standard output; nothing when quiet. */
export function print(line = ""): void {
  if (settings.quiet) return;
  const text = presentable(line, process.stdout);
  if (held === undefined) process.stdout.write(`${text}\n`);
  else held.push(text);
}

/** Prints many lines, and waits where the reader is slower than we are; nothing when quiet. */
export async function printLines(lines: readonly string[]): Promise<void> {
  if (settings.quiet || lines.length === 0) return;
  await writeAll(`${presentable(lines.join("\n"), process.stdout)}\n`);
}

/** Prints part of a text that has lines of its own, its control characters written out. */
export function printText(text: string): Promise<void> {
  return writeAll(text.split("\n").map(escapeControls).join("\n"));
}

/** Writes bytes as they are: what was asked for as raw. */
export function printBytes(bytes: Uint8Array): Promise<void> {
  return writeAll(Uint8Array.from(bytes));
}

async function writeAll(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, "drain");
}

/** Prints a line on standard error, quiet or not: errors. */
export function printError(line: string): void {
  process.stderr.write(`${presentable(line, process.stderr)}\n`);
}

/** Prints a warning on standard error; nothing when quiet. */
export function printWarning(line: string): void {
  if (!settings.quiet) printError(line);
}

/** Shows a state on the terminal that standard error is, in place of the one before; an empty text clears it. */
export function showStatus(text: string): void {
  const shown = escapeControls(text).slice(0, Math.max(0, (process.stderr.columns || 80) - 1));
  process.stderr.write(`\r\u001b[K${shown}`);
}

/** A document as every command prints one: `schema/KIND.json` describes it. */
interface Described {
  readonly schemaVersion: number;
  readonly kind: string;
}

/** The document with the schema that it names. */
const named = (document: object): object => {
  const { kind, schemaVersion } = document as Described;
  return { $schema: `urn:guestscope:schema:${kind}:${schemaVersion}`, ...document };
};

/**
 * One JSON document, quiet or not, which names its schema; bigints as hexadecimal strings, bytes as hexadecimal text.
 * Its text is written in pieces: a long one is never in memory as a whole.
 */
export function printJson(document: object): void {
  documentPrinted = true;
  for (const piece of jsonPieces(named(document))) process.stdout.write(escapeJsonControls(piece));
  process.stdout.write("\n");
}

/** A JSON document with a list that is written as it comes: what `printJson` would print of it, in this order of members. */
export class ListDocument {
  readonly #head: object;
  readonly #list: string;
  #items = 0;
  #isBegun = false;

  /** @param head what is before the list */
  constructor(head: object, list: string) {
    this.#head = head;
    this.#list = list;
  }

  /** Writes items of the list, and waits where the reader is slower than we are. */
  async add(items: readonly object[]): Promise<void> {
    let text = this.#begin();
    for (const item of items) {
      text += itemText(item, this.#items);
      this.#items += 1;
      if (text.length < PIECE) continue;
      await writeAll(escapeJsonControls(text));
      text = "";
    }
    if (text !== "") await writeAll(escapeJsonControls(text));
  }

  /** Writes what is after the list. */
  end(rest: object): Promise<void> {
    return writeAll(escapeJsonControls(`${this.#begin()}${listEnd(rest, this.#items)}\n`));
  }

  #begin(): string {
    if (this.#isBegun) return "";
    this.#isBegun = true;
    documentPrinted = true;
    return listBegin(named(this.#head), this.#list);
  }
}

/** Holds back what is printed from here on, for the pager, where standard output is a capable terminal. */
export function startPaging(): void {
  const pager = process.env.PAGER ?? "less";
  if (isCapable(process.stdout) && pager !== "" && pager !== "cat") held = [];
}

/** Prints what was held back: through the pager when it is longer than the terminal, else as it is. */
export function finishPaging(): void {
  if (held === undefined) return;
  const lines = held.flatMap((text) => text.split("\n"));
  held = undefined;
  const text = lines.map((line) => `${line}\n`).join("");
  if (lines.length >= process.stdout.rows) {
    const { error, status } = process
      .getBuiltinModule("node:child_process")
      .spawnSync(process.env.PAGER ?? "less", {
        input: text,
        shell: true,
        stdio: ["pipe", "inherit", "inherit"],
        env: { LESS: "FRX", ...process.env },
      });
    // 127: the shell found no such program
    if (error === undefined && status !== 127) return;
  }
  process.stdout.write(text);
}

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** Lines of a table with columns as wide as their widest cell. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map((column, i) =>
    rows.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), column.title.length),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, i) => {
        const cell = cells[i] ?? "";
        return column.align === "right" ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0);
      })
      .join("  ")
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}

/** `0x1f3`. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `192.0 MiB`; exact below one KiB. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(bytes)} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}
