// over 350 lines: one data structure, its codes and its walk are of no use apart
import { firstAtLeast } from "../binary/search.js";
import { GUEST_RULES } from "./rules.js";
import { FormatError } from "../findings/errors.js";

/**
 * Where each page of a guest is: guest frame number → code, a number.
 *
 * Codes: an offset in the source (0 or more), NOWHERE, one of a table of reasons, or a token of the
 * owner's decoder. Frames go into chunks of 4096. A chunk holds runs (a guest saved in order needs a few
 * bytes per thousand pages) until there are too many of them, then five bytes a page; so 16 Mi pages in
 * the worst order take 80 MiB.
 */

/** Pages of one chunk. */
const CHUNK = 4096;
/** More runs than this and a chunk turns into a table; */
const FEW_RUNS = 8;
/** after this many tables (80 MiB of them) only a chunk of many runs does, so that memory follows what was read. */
const EAGER_TABLES = 4096;
const MANY_RUNS = 256;
/** Chunks of one guest: 16 TiB of 4 KiB pages, wherever they lie. A hostile input can't have more. */
const MOST_CHUNKS = 1 << 20;
/** Frames of pages of 4096 bytes whose addresses stay below 2^53. */
export const FRAME_LIMIT = 2 ** 41;

/** The page does not exist. */
export const NOWHERE = -1;
const FIRST_TOKEN = -(2 ** 17);
const TWO_32 = 2 ** 32;

/** Code of entry `index` (below 2^16) of the owner's table of reasons. */
export const reasonCode = (index: number): number => -2 - index;
export const isReason = (code: number): boolean => code < NOWHERE && code > FIRST_TOKEN;
export const reasonOf = (code: number): number => -2 - code;
/** Code of the decoder's token (below 2^32). */
export const tokenCode = (token: number): number => FIRST_TOKEN - token;
export const isToken = (code: number): boolean => code <= FIRST_TOKEN;
export const tokenOf = (code: number): number => FIRST_TOKEN - code;

/** Runs that cover a chunk without gaps; `starts[0]` is 0. */
interface Runs {
  readonly starts: number[];
  readonly codes: number[];
}

/** One code a page: kind and upper half in `high` (0: reason or nowhere, 1: token, else offset), lower half in `low`. */
interface Table {
  readonly low: Uint32Array;
  high: Uint8Array | Uint32Array;
}

const isTable = (chunk: Runs | Table): chunk is Table => "low" in chunk;

/** Index of the last start that is not beyond `page`. */
function runAt(starts: readonly number[], page: number): number {
  const last = starts.length - 1;
  // most are asked for in ascending order, while they are being set
  if ((starts[last] ?? 0) <= page) return last;
  return Math.max(0, firstAtLeast(starts, page + 1) - 1);
}

function tableCode(table: Table, page: number): number {
  const low = table.low[page] ?? 0;
  const high = table.high[page] ?? 0;
  if (high > 1) return (high - 2) * TWO_32 + low;
  return high === 1 ? tokenCode(low) : NOWHERE - low;
}

function setTable(table: Table, page: number, code: number): void {
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
function runEnd({ low, high }: Table, page: number, end: number, pageSize: number): number {
  const kind = high[page] ?? 0;
  const step = kind > 1 ? pageSize : kind;
  let next = (low[page] ?? 0) + step;
  let at = page + 1;
  for (; at < end && high[at] === kind && low[at] === next; at += 1) next += step;
  return at;
}

/** Where pages of `page`'s kind end: those with contents, wherever they are, or those of one reason. */
function kindEnd({ low, high }: Table, page: number, end: number): number {
  const hasContents = (high[page] ?? 0) > 0;
  const reason = low[page];
  let at = page + 1;
  if (hasContents) while (at < end && (high[at] ?? 0) > 0) at += 1;
  else while (at < end && high[at] === 0 && low[at] === reason) at += 1;
  return at;
}

/** Refuses frames that no machine has. @throws FormatError */
export function checkFrames(first: number, count: number): void {
  // written so that NaN is refused as well
  if (!(first >= 0 && count >= 0 && first + count <= FRAME_LIMIT))
    throw new FormatError(
      GUEST_RULES.frameRange,
      `guest frame 0x${first.toString(16)} is beyond any machine`,
    );
}

export class PageIndex {
  /** Bytes from one page to the next, in the guest and in the source. */
  readonly pageSize: number;
  readonly #chunks = new Map<number, Runs | Table>();
  #sorted: number[] | undefined;
  #tables = 0;
  #lastKey = -1;
  #last: Runs | Table | undefined;

  constructor(pageSize: number) {
    this.pageSize = pageSize;
  }

  /** The code `pages` further on in a run that begins with `code`. */
  advanced(code: number, pages: number): number {
    if (code >= 0) return code + pages * this.pageSize;
    return isToken(code) ? code - pages : code;
  }

  #chunk(key: number): Runs | Table | undefined {
    if (key !== this.#lastKey) {
      this.#last = this.#chunks.get(key);
      this.#lastKey = key;
    }
    return this.#last;
  }

  #put(key: number, chunk: Runs | Table): void {
    if (!this.#chunks.has(key)) {
      if (this.#chunks.size >= MOST_CHUNKS)
        throw new FormatError(GUEST_RULES.tooScattered, "guest memory is scattered beyond any real machine");
      this.#sorted = undefined;
    }
    this.#chunks.set(key, chunk);
    this.#lastKey = key;
    this.#last = chunk;
  }

  /** Code of one frame. */
  get(frame: number): number {
    const chunk = this.#chunk(Math.floor(frame / CHUNK));
    if (chunk === undefined) return NOWHERE;
    const page = frame % CHUNK;
    if (isTable(chunk)) return tableCode(chunk, page);
    const run = runAt(chunk.starts, page);
    return this.advanced(chunk.codes[run] ?? NOWHERE, page - (chunk.starts[run] ?? 0));
  }

  /** Frames from `frame` on, at most `most` and to the end of its chunk, whose codes continue its own. */
  runLength(frame: number, most: number): number {
    const page = frame % CHUNK;
    const end = Math.min(CHUNK, page + most);
    const chunk = this.#chunk(Math.floor(frame / CHUNK));
    if (chunk === undefined) return end - page;
    if (isTable(chunk)) return runEnd(chunk, page, end, this.pageSize) - page;
    return Math.min(end, chunk.starts[runAt(chunk.starts, page) + 1] ?? CHUNK) - page;
  }

  /** Gives `count` frames from `first` on the codes that continue `code`; what they were before is forgotten. */
  set(first: number, count: number, code: number): void {
    checkFrames(first, count);
    let frame = first;
    let left = count;
    let value = code;
    while (left > 0) {
      const key = Math.floor(frame / CHUNK);
      const page = frame % CHUNK;
      const part = Math.min(left, CHUNK - page);
      this.#setWithin(key, page, page + part, value);
      frame += part;
      left -= part;
      value = this.advanced(value, part);
    }
  }

  /** As `set`, for frames whose codes, offsets all, are `spacing` apart. */
  setSpaced(first: number, count: number, offset: number, spacing: number): void {
    checkFrames(first, count);
    for (let done = 0; done < count; ) {
      const key = Math.floor((first + done) / CHUNK);
      const page = (first + done) % CHUNK;
      const part = Math.min(count - done, CHUNK - page);
      let chunk = this.#chunk(key);
      if (part > this.#mostRuns && (chunk === undefined || !isTable(chunk))) {
        chunk = this.#asTable(chunk ?? { starts: [0], codes: [NOWHERE] });
        this.#put(key, chunk);
      }
      for (let i = 0; i < part; i += 1) {
        const code = offset + (done + i) * spacing;
        if (chunk !== undefined && isTable(chunk)) setTable(chunk, page + i, code);
        else this.#setWithin(key, page + i, page + i + 1, code);
      }
      done += part;
    }
  }

  /** Runs that a chunk may have before it turns into a table. */
  get #mostRuns(): number {
    return this.#tables < EAGER_TABLES ? FEW_RUNS : MANY_RUNS;
  }

  #setWithin(key: number, from: number, to: number, code: number): void {
    const chunk = this.#chunk(key);
    if (to - from === CHUNK) {
      if (code !== NOWHERE || chunk !== undefined) this.#put(key, { starts: [0], codes: [code] });
    } else if (chunk === undefined) {
      if (code === NOWHERE) return;
      const runs: Runs = { starts: [0], codes: [NOWHERE] };
      this.#replace(runs, from, to, code);
      this.#put(key, runs);
    } else if (isTable(chunk)) {
      let value = code;
      for (let page = from; page < to; page += 1) {
        setTable(chunk, page, value);
        value = this.advanced(value, 1);
      }
    } else {
      this.#replace(chunk, from, to, code);
      if (chunk.starts.length > this.#mostRuns) this.#put(key, this.#asTable(chunk));
    }
  }

  /** Puts one run over pages [from, to), joined with its neighbours where it continues them. */
  #replace(runs: Runs, from: number, to: number, code: number): void {
    const { starts, codes } = runs;
    let first = runAt(starts, from);
    const last = to < CHUNK ? runAt(starts, to) : starts.length - 1;
    const after = to < CHUNK ? this.advanced(codes[last] ?? NOWHERE, to - (starts[last] ?? 0)) : undefined;
    const newStarts: number[] = [];
    const newCodes: number[] = [];
    // the run in front of the new one: what is left of `first`, or its predecessor
    if ((starts[first] ?? 0) < from) first += 1;
    const front = first - 1;
    const continues =
      front >= 0 && this.advanced(codes[front] ?? NOWHERE, from - (starts[front] ?? 0)) === code;
    if (!continues) {
      newStarts.push(from);
      newCodes.push(code);
    }
    if (after !== undefined && this.advanced(code, to - from) !== after) {
      newStarts.push(to);
      newCodes.push(after);
    }
    starts.splice(first, last + 1 - first, ...newStarts);
    codes.splice(first, last + 1 - first, ...newCodes);
  }

  #asTable(runs: Runs): Table {
    this.#tables += 1;
    const table: Table = { low: new Uint32Array(CHUNK), high: new Uint8Array(CHUNK) };
    for (const [i, start] of runs.starts.entries()) {
      let code = runs.codes[i] ?? NOWHERE;
      const end = runs.starts[i + 1] ?? CHUNK;
      for (let page = start; page < end; page += 1) {
        setTable(table, page, code);
        code = this.advanced(code, 1);
      }
    }
    return table;
  }

  /**
   * A walk over the runs that exist within frames [start, end), ascending. `kinds`: frames with contents make
   * one run wherever those are; its code is that of its first frame.
   */
  runs(start: number, end: number, kinds = false): RunWalk {
    this.#sorted ??= [...this.#chunks.keys()].sort((a, b) => a - b);
    return new RunWalk(this, this.#chunks, this.#sorted, { start, end, kinds });
  }
}

interface WalkSpan {
  readonly start: number;
  readonly end: number;
  readonly kinds: boolean;
}

/** Steps through runs without an object a run: `next()`, then `frame`, `count`, `code`. */
export class RunWalk {
  frame = 0;
  count = 0;
  code = NOWHERE;
  readonly #index: PageIndex;
  readonly #chunks: ReadonlyMap<number, Runs | Table>;
  readonly #keys: readonly number[];
  readonly #span: WalkSpan;
  /** Place in `#keys` of the chunk after this one. */
  #next: number;
  #chunk: Runs | Table | undefined;
  /** First frame of the chunk; within it the next page, where to stop, and the run that page is in. */
  #base = 0;
  #page = 0;
  #stop = 0;
  #run = 0;

  constructor(
    index: PageIndex,
    chunks: ReadonlyMap<number, Runs | Table>,
    keys: readonly number[],
    span: WalkSpan,
  ) {
    this.#index = index;
    this.#chunks = chunks;
    this.#keys = keys;
    this.#span = span;
    this.#next = keys.length === 0 ? 0 : runAt(keys, Math.floor(span.start / CHUNK));
  }

  next(): boolean {
    for (;;) {
      if (this.#page >= this.#stop && !this.#enter()) return false;
      const chunk = this.#chunk;
      if (chunk === undefined) return false;
      const page = this.#page;
      if (isTable(chunk)) {
        this.code = tableCode(chunk, page);
        this.#page = this.#span.kinds
          ? kindEnd(chunk, page, this.#stop)
          : runEnd(chunk, page, this.#stop, this.#index.pageSize);
      } else {
        const start = chunk.starts[this.#run] ?? 0;
        this.code = this.#index.advanced(chunk.codes[this.#run] ?? NOWHERE, page - start);
        this.#run += 1;
        this.#page = Math.min(this.#stop, chunk.starts[this.#run] ?? CHUNK);
      }
      if (this.code === NOWHERE) continue;
      this.frame = this.#base + page;
      this.count = this.#page - page;
      return true;
    }
  }

  /** Goes on to the next chunk that has pages of the span. */
  #enter(): boolean {
    const { start, end } = this.#span;
    for (;;) {
      const key = this.#keys[this.#next];
      if (key === undefined || key * CHUNK >= end) return false;
      this.#next += 1;
      this.#base = key * CHUNK;
      this.#chunk = this.#chunks.get(key);
      this.#page = Math.max(0, start - this.#base);
      this.#stop = Math.min(CHUNK, end - this.#base);
      if (this.#chunk === undefined || this.#page >= this.#stop) continue;
      this.#run = isTable(this.#chunk) ? 0 : runAt(this.#chunk.starts, this.#page);
      return true;
    }
  }
}
