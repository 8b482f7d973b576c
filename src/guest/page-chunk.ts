import { firstAtLeast } from "../binary/search.js";
import { advanced, isToken, NOWHERE, tokenCode, tokenOf } from "./page-codes.js";

/** Free tables that are kept: 16 MiB. */
const MOST_FREE = 800;

/** Pages of one chunk of an index. */
export const CHUNK = 4096;
const TWO_32 = 2 ** 32;

/** Runs that cover a chunk without gaps; `starts[0]` is 0. */
export interface Runs {
  readonly starts: number[];
  readonly codes: number[];
}

/** One code a page: kind and upper half in `high` (0: reason or nowhere, 1: token, else offset), lower half in `low`. */
export interface Table {
  readonly low: Uint32Array;
  high: Uint8Array | Uint32Array;
}

/** The codes of CHUNK pages. */
export type Chunk = Runs | Table;

export const isTable = (chunk: Chunk): chunk is Table => "low" in chunk;

/** A chunk of one run from its first page on. */
export const oneRun = (code: number): Runs => ({ starts: [0], codes: [code] });

/** Index of the last start that is not beyond `page`. */
export function runAt(starts: readonly number[], page: number): number {
  const last = starts.length - 1;
  // most are asked for in ascending order, while they are being set
  if ((starts[last] ?? 0) <= page) return last;
  return Math.max(0, firstAtLeast(starts, page + 1) - 1);
}

export function tableCode(table: Table, page: number): number {
  const low = table.low[page] ?? 0;
  const high = table.high[page] ?? 0;
  if (high > 1) return (high - 2) * TWO_32 + low;
  return high === 1 ? tokenCode(low) : NOWHERE - low;
}

export function setTable(table: Table, page: number, code: number): void {
  let high = 0;
  let low = NOWHERE - code;
  if (code >= 0) {
    high = Math.floor(code / TWO_32) + 2;
    low = code % TWO_32;
    if (high > 0xff && table.high instanceof Uint8Array) table.high = Uint32Array.from(table.high);
  } else if (isToken(code)) {
    high = 1;
    low = tokenOf(code);
  }
  table.low[page] = low;
  table.high[page] = high;
}

/** Where the run of `page` ends in a table, `end` at the latest. One that crosses 4 GiB of the source is parted there. */
export function runEnd({ low, high }: Table, page: number, end: number, pageSize: number): number {
  const kind = high[page] ?? 0;
  const step = kind > 1 ? pageSize : kind;
  let next = (low[page] ?? 0) + step;
  let at = page + 1;
  for (; at < end && high[at] === kind && low[at] === next; at += 1) next += step;
  return at;
}

/** Where pages of `page`'s kind end: those with contents, wherever they are, or those of one reason. */
export function kindEnd({ low, high }: Table, page: number, end: number): number {
  const hasContents = (high[page] ?? 0) > 0;
  const reason = low[page];
  let at = page + 1;
  if (hasContents) while (at < end && (high[at] ?? 0) > 0) at += 1;
  else while (at < end && high[at] === 0 && low[at] === reason) at += 1;
  return at;
}

/** Puts one run over pages [from, to), joined with its neighbours where it continues them. */
function setRun(runs: Runs, from: number, to: number, code: number, pageSize: number): void {
  const { starts, codes } = runs;
  let first = runAt(starts, from);
  const last = to < CHUNK ? runAt(starts, to) : starts.length - 1;
  const after = to < CHUNK ? advanced(codes[last] ?? NOWHERE, to - (starts[last] ?? 0), pageSize) : undefined;
  const newStarts: number[] = [];
  const newCodes: number[] = [];
  // the run in front of the new one: what is left of `first`, or its predecessor
  if ((starts[first] ?? 0) < from) first += 1;
  const front = first - 1;
  const continues =
    front >= 0 && advanced(codes[front] ?? NOWHERE, from - (starts[front] ?? 0), pageSize) === code;
  if (!continues) {
    newStarts.push(from);
    newCodes.push(code);
  }
  if (after !== undefined && advanced(code, to - from, pageSize) !== after) {
    newStarts.push(to);
    newCodes.push(after);
  }
  starts.splice(first, last + 1 - first, ...newStarts);
  codes.splice(first, last + 1 - first, ...newCodes);
}

/** Tables that are free to be used again. */
export class TablePool {
  readonly #free: Table[] = [];

  /** A table, whatever it holds. */
  take(): Table {
    return this.#free.pop() ?? { low: new Uint32Array(CHUNK), high: new Uint8Array(CHUNK) };
  }

  give(table: Table): void {
    if (table.high instanceof Uint8Array && this.#free.length < MOST_FREE) this.#free.push(table);
  }
}

/** The same codes as a table. */
export function asTable(runs: Runs, pageSize: number, tables: TablePool): Table {
  const table = tables.take();
  for (const [i, start] of runs.starts.entries()) {
    let code = runs.codes[i] ?? NOWHERE;
    const end = runs.starts[i + 1] ?? CHUNK;
    for (let page = start; page < end; page += 1) {
      setTable(table, page, code);
      code = advanced(code, 1, pageSize);
    }
  }
  return table;
}

/**
 * The chunk after pages [from, to) got the codes that continue `code`: the same object, or one in its place.
 * @param mostRuns runs that it may have before it turns into a table
 */
export function withRun(
  chunk: Chunk | undefined,
  from: number,
  to: number,
  code: number,
  pageSize: number,
  mostRuns: number,
  tables: TablePool,
): Chunk | undefined {
  if (to - from === CHUNK) return code === NOWHERE && chunk === undefined ? undefined : oneRun(code);
  if (chunk === undefined && code === NOWHERE) return undefined;
  const old = chunk ?? oneRun(NOWHERE);
  if (isTable(old)) {
    let value = code;
    for (let page = from; page < to; page += 1) {
      setTable(old, page, value);
      value = advanced(value, 1, pageSize);
    }
    return old;
  }
  setRun(old, from, to, code, pageSize);
  return old.starts.length > mostRuns ? asTable(old, pageSize, tables) : old;
}

/** Bytes of a run in memory, about. */
export const RUN_BYTES = 16;

/** Bytes that a chunk takes, about. */
export function bytesOf(chunk: Chunk): number {
  return isTable(chunk)
    ? chunk.low.byteLength + chunk.high.byteLength + 400
    : 250 + RUN_BYTES * chunk.starts.length;
}
