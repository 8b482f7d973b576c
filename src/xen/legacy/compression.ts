import { viewOf } from "../../binary/layout.js";
import type { Cursor } from "./cursor.js";
import { isPageTable, PAGE, TYPE } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";

/*
 * A coded page is
 *   00                    nothing changed
 *   80 and 4096 bytes    the whole page
 *   otherwise runs of 4-byte words, 1024 in all: a byte with the count in its low 7 bits; with bit 7 set the words
 *                         stay as they are, otherwise their new contents follow.
 */
const UNCHANGED = 0x00;
/** First byte of a coded page that is sent whole. */
export const WHOLE = 0x80;
const KEEP = 0x80;
const COUNT = 0x7f;
const WORDS = PAGE / 4;
/** The longest coded page: 1024 runs of one changed word each. */
const CODED_LIMIT = WORDS * 5;

/** Why a coded page can't be taken; negative, unlike any length. */
const CODED = { cut: -1, emptyRun: -2, pastPage: -3 } as const;

/** Length in bytes of the coded page at `at`, or one of `CODED` when it is not whole before `end`. */
export function codedLength(input: Uint8Array, at: number, end: number): number {
  if (at >= end) return CODED.cut;
  const first = input[at] ?? 0;
  if (first === UNCHANGED) return 1;
  if (first === WHOLE) return at + 1 + PAGE <= end ? 1 + PAGE : CODED.cut;
  let words = 0;
  let position = at;
  while (words < WORDS) {
    if (position >= end) return CODED.cut;
    const run = input[position] ?? 0;
    const count = run & COUNT;
    if (count === 0) return CODED.emptyRun;
    words += count;
    if (words > WORDS) return CODED.pastPage;
    position += (run & KEEP) !== 0 ? 1 : 1 + 4 * count;
  }
  return position <= end ? position - at : CODED.cut;
}

/** Runs up to this many bytes are copied one by one: cheaper than setting up a bulk copy. */
const SHORT_COPY = 64;

/** Applies the coded page at `at`, whose length `codedLength` has found, to the contents at `page[to]`. */
export function applyCoded(input: Uint8Array, at: number, page: Uint8Array, to: number): void {
  const first = input[at] ?? 0;
  if (first === UNCHANGED) return;
  if (first === WHOLE) {
    page.set(input.subarray(at + 1, at + 1 + PAGE), to);
    return;
  }
  const end = to + PAGE;
  let target = to;
  let from = at;
  while (target < end) {
    const run = input[from] ?? 0;
    from += 1;
    const length = (run & COUNT) * 4;
    if ((run & KEEP) === 0) {
      if (length <= SHORT_COPY) {
        for (let i = 0; i < length; i += 1) page[target + i] = input[from + i] ?? 0;
      } else {
        page.set(input.subarray(from, from + length), target);
      }
      from += length;
    }
    target += length;
  }
}

/** Takes coded pages: `pfn`'s coding is `coded[at, at + length)`. */
export interface CodedPageHandler {
  /** Up to `GROUP_LIMIT` pages in stream order; `coded` is valid until the promise resolves. */
  group(pages: CodedGroup): Promise<void>;
}

/** Coded pages that are handed on together at most. */
export const GROUP_LIMIT = 512;

/** Coded pages in one piece of memory. */
export interface CodedGroup {
  readonly count: number;
  /** Bits 31–28 type, 27–0 pfn. */
  readonly entries: Uint32Array;
  /** Where each page's coding begins in `coded`. */
  readonly at: Uint32Array;
  readonly coded: Uint8Array;
  /** Offset in the stream of `coded[0]`. */
  readonly offset: number;
}

/** Matches the pages of compressed chunks with the entries of the batches of one body. */
export class CompressedPages {
  #waiting: Uint32Array = new Uint32Array(1024);
  #head = 0;
  #tail = 0;
  readonly #entries = new Uint32Array(GROUP_LIMIT);
  readonly #at = new Uint32Array(GROUP_LIMIT);

  /** Entries whose contents have not come yet. */
  get waiting(): number {
    return this.#tail - this.#head;
  }

  /** Announces an entry with contents. */
  announce(entry: number): void {
    if (this.#tail === this.#waiting.length) {
      const kept = this.#waiting.subarray(this.#head, this.#tail);
      const larger =
        kept.length * 2 > this.#waiting.length ? new Uint32Array(this.#waiting.length * 2) : this.#waiting;
      larger.set(kept);
      this.#waiting = larger;
      this.#tail -= this.#head;
      this.#head = 0;
    }
    this.#waiting[this.#tail] = entry;
    this.#tail += 1;
  }

  /** Reads a compressed chunk of `size` bytes at the cursor, handing its pages on. */
  async read(cursor: Cursor, size: number, handler: CodedPageHandler): Promise<void> {
    const { reader } = cursor;
    for (let left = size; left > 0; ) {
      // a page is whole within this, or it is cut
      await cursor.need(Math.min(left, CODED_LIMIT), "compressed data");
      const end = Math.min(left, reader.available);
      const coded = reader.peek(end);
      const offset = cursor.position;
      const used = this.#collect(cursor, coded, end === left);
      await handler.group({ count: used.count, entries: this.#entries, at: this.#at, coded, offset });
      reader.take(used.bytes);
      left -= used.bytes;
    }
  }

  #collect(cursor: Cursor, coded: Uint8Array, whole: boolean): { count: number; bytes: number } {
    let count = 0;
    let at = 0;
    while (at < coded.length && count < GROUP_LIMIT) {
      const length = codedLength(coded, at, coded.length);
      const offset = cursor.position + at;
      if (length === CODED.cut && !whole && count > 0) break;
      if (this.#head === this.#tail) {
        cursor.fail(LEGACY_RULES.compressedCount, offset, "more compressed pages than entries announced");
      }
      const entry = this.#waiting[this.#head] ?? 0;
      const pfn = `pfn 0x${(entry & 0x0fffffff).toString(16)}`;
      if (length === CODED.cut)
        cursor.fail(LEGACY_RULES.compressedPage, offset, `${pfn} is cut off by the chunk's end`);
      if (length === CODED.emptyRun)
        cursor.fail(LEGACY_RULES.compressedPage, offset, `${pfn} has a run of no words`);
      if (length === CODED.pastPage)
        cursor.fail(LEGACY_RULES.compressedPage, offset, `${pfn} has runs past its end`);
      if (isPageTable(entry >>> 28) && coded[at] !== WHOLE) {
        cursor.fail(LEGACY_RULES.compressedPage, offset, `${pfn}, a page table, is not sent whole`);
      }
      this.#entries[count] = entry;
      this.#at[count] = at;
      this.#head += 1;
      count += 1;
      at += length;
    }
    return { count, bytes: at };
  }

  /** At the end of a body nothing may be left over. */
  finish(cursor: Cursor): void {
    if (this.waiting > 0) {
      cursor.fail(
        LEGACY_RULES.compressedCount,
        cursor.position,
        `${this.waiting} entries have no compressed page`,
      );
    }
    this.#head = 0;
    this.#tail = 0;
  }
}

const SENDER_CACHE_PAGES = 8192;

/**
 * The sender's cache of pages sent before, as far as a stream shows it: least recently used goes out, page tables
 * never stay. A difference for a page that can't be in it was made against contents the receiver never had.
 */
export class SenderCache {
  readonly #pfns = new Set<number>();

  /** Notes a page sent; returns whether its coding had no base. */
  sent(entry: number, firstByte: number): boolean {
    const pfn = entry & 0x0fffffff;
    const known = this.#pfns.delete(pfn);
    if (entry >>> 28 !== TYPE.normal) return false;
    this.#pfns.add(pfn);
    if (this.#pfns.size > SENDER_CACHE_PAGES) {
      const [oldest] = this.#pfns;
      if (oldest !== undefined) this.#pfns.delete(oldest);
    }
    return !known && firstByte !== WHOLE;
  }
}

/** The first word that differs between two pages, -1 for none. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number {
  const a = viewOf(one);
  const b = viewOf(other);
  for (let at = 0; at < PAGE; at += 4) {
    if (a.getUint32(at, true) !== b.getUint32(at, true)) return at;
  }
  return -1;
}
