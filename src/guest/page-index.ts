import { installedSpill } from "../io/spill.js";
import { FormatError } from "../findings/errors.js";
import {
  bytesOf,
  type Chunk,
  CHUNK,
  isTable,
  kindEnd,
  oneRun,
  runAt,
  runEnd,
  setTable,
  tableCode,
  RUN_BYTES,
} from "./page-chunk.js";
import { advanced, NOWHERE } from "./page-codes.js";
import { GROUP, PageGroups, type SpillOptions } from "./page-groups.js";
import { GUEST_RULES } from "./rules.js";

/**
 * Where each page of a guest is: guest frame number → code, a number (page-codes.ts).
 *
 * Frames go into chunks of 4096. A chunk holds runs (a guest saved in order needs a few bytes per thousand pages) until
 * there are too many of them, then five bytes a page; so 16 Mi pages in the worst order take 80 MiB. Where the platform
 * has a file for them, some 30 MiB are in memory and the others there.
 */

/** More runs than this and a chunk turns into a table; */
const FEW_RUNS = 8;
/** after this many tables (80 MiB of them) only a chunk of many runs does, so that memory follows what was read. */
const EAGER_TABLES = 4096;
const MANY_RUNS = 256;
/** Frames of pages of 4096 bytes whose addresses stay below 2^53. */
export const FRAME_LIMIT = 2 ** 41;

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
  readonly #groups: PageGroups;
  #tables = 0;

  /** @param spill where what takes too much memory goes; default: what the platform installed */
  constructor(pageSize: number, spill: SpillOptions | undefined = installedOptions()) {
    this.pageSize = pageSize;
    this.#groups = new PageGroups(pageSize, spill);
  }

  /** The code `pages` further on in a run that begins with `code`. */
  advanced(code: number, pages: number): number {
    return advanced(code, pages, this.pageSize);
  }

  /** Code of one frame. */
  get(frame: number): number {
    const chunk = this.#groups.get(Math.floor(frame / CHUNK));
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
    const chunk = this.#groups.get(Math.floor(frame / CHUNK));
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
      const chunk = part > this.#mostRuns ? this.#tableFor(key) : this.#groups.get(key);
      const before = chunk === undefined ? 0 : bytesOf(chunk);
      for (let i = 0; i < part; i += 1) {
        const code = offset + (done + i) * spacing;
        if (chunk !== undefined && isTable(chunk)) setTable(chunk, page + i, code);
        else this.#setWithin(key, page + i, page + i + 1, code);
      }
      if (chunk !== undefined && isTable(chunk)) this.#groups.changed(key, bytesOf(chunk) - before);
      done += part;
    }
  }

  /** The chunk of a number as a table, turned into one or made. */
  #tableFor(key: number): Chunk {
    const chunk = this.#groups.get(key) ?? oneRun(NOWHERE);
    if (isTable(chunk)) return chunk;
    const table = this.#groups.tableOf(chunk);
    this.#tables += 1;
    this.#groups.put(key, table);
    return table;
  }

  /** Runs that a chunk may have before it turns into a table. */
  get #mostRuns(): number {
    return this.#tables < EAGER_TABLES ? FEW_RUNS : MANY_RUNS;
  }

  #setWithin(key: number, from: number, to: number, code: number): void {
    if (this.#groups.defer(key, from, to, code)) return;
    const chunk = this.#groups.get(key);
    const before = chunk === undefined ? 0 : isTable(chunk) ? chunk.high.byteLength : chunk.starts.length;
    const now = this.#groups.changedChunk(chunk, from, to, code, this.#mostRuns);
    if (now === undefined) return;
    if (now !== chunk) {
      if (isTable(now)) this.#tables += 1;
      this.#groups.put(key, now);
    } else if (isTable(now)) this.#groups.changed(key, now.high.byteLength - before);
    else this.#groups.changed(key, (now.starts.length - before) * RUN_BYTES);
  }

  /**
   * A walk over the runs that exist within frames [start, end), ascending. `kinds`: frames with contents make
   * one run wherever those are; its code is that of its first frame.
   */
  runs(start: number, end: number, kinds = false): RunWalk {
    return new RunWalk(this.pageSize, this.#groups, { start, end, kinds });
  }
}

function installedOptions(): SpillOptions | undefined {
  const open = installedSpill();
  return open && { open };
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
  readonly #pageSize: number;
  readonly #groups: PageGroups;
  readonly #numbers: readonly number[];
  readonly #span: WalkSpan;
  /** Place in `#numbers` of the group at hand, and the chunk of it that is next. */
  #group: number;
  #within = 0;
  #chunk: Chunk | undefined;
  /** First frame of the chunk; within it the next page, where to stop, and the run that page is in. */
  #base = 0;
  #page = 0;
  #stop = 0;
  #run = 0;
  #evictions: number;

  constructor(pageSize: number, groups: PageGroups, span: WalkSpan) {
    this.#pageSize = pageSize;
    this.#groups = groups;
    this.#numbers = groups.numbers();
    this.#evictions = groups.evictions;
    this.#span = span;
    this.#group =
      this.#numbers.length === 0 ? 0 : runAt(this.#numbers, Math.floor(span.start / (CHUNK * GROUP)));
  }

  next(): boolean {
    for (;;) {
      if (this.#page >= this.#stop && !this.#enter()) return false;
      if (this.#evictions !== this.#groups.evictions) this.#renew();
      const chunk = this.#chunk;
      if (chunk === undefined) return false;
      const page = this.#page;
      if (isTable(chunk)) {
        this.code = tableCode(chunk, page);
        this.#page = this.#span.kinds
          ? kindEnd(chunk, page, this.#stop)
          : runEnd(chunk, page, this.#stop, this.#pageSize);
      } else {
        const start = chunk.starts[this.#run] ?? 0;
        this.code = advanced(chunk.codes[this.#run] ?? NOWHERE, page - start, this.#pageSize);
        this.#run += 1;
        this.#page = Math.min(this.#stop, chunk.starts[this.#run] ?? CHUNK);
      }
      if (this.code === NOWHERE) continue;
      this.frame = this.#base + page;
      this.count = this.#page - page;
      return true;
    }
  }

  /** Gets the chunk at hand once more: its memory may be another's since it went to the file. */
  #renew(): void {
    this.#chunk = this.#groups.get(this.#base / CHUNK);
    this.#evictions = this.#groups.evictions;
    if (this.#chunk !== undefined && !isTable(this.#chunk)) this.#run = runAt(this.#chunk.starts, this.#page);
  }

  /** Goes on to the next chunk that has pages of the span. */
  #enter(): boolean {
    const { start, end } = this.#span;
    for (;;) {
      if (this.#within === GROUP) {
        this.#group += 1;
        this.#within = 0;
      }
      const number = this.#numbers[this.#group];
      if (number === undefined) return false;
      const key = number * GROUP + this.#within;
      if (key * CHUNK >= end) return false;
      this.#within += 1;
      const base = key * CHUNK;
      const page = Math.max(0, start - base);
      const stop = Math.min(CHUNK, end - base);
      const chunk = page < stop && this.#groups.has(key) ? this.#groups.get(key) : undefined;
      if (chunk === undefined) continue;
      this.#base = base;
      this.#page = page;
      this.#stop = stop;
      this.#chunk = chunk;
      this.#evictions = this.#groups.evictions;
      this.#run = isTable(chunk) ? 0 : runAt(chunk.starts, page);
      return true;
    }
  }
}
