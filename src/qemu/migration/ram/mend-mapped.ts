import { latin1, roughU64, viewOf } from "../../../binary/layout.js";
import type { HeadFact } from "../../../guest/head.js";
import type { HeadPart } from "../../../guest/head-parts.js";
import { roundUp } from "../../../io/alignment.js";
import { indexOfBytes } from "../../../io/byte-search.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { readBefore } from "../../../io/lost-bytes.js";
import { isName } from "../frame.js";
import { FLAG, MAPPED_ALIGNMENT, mappedRamHeader, SECTION } from "../layout.js";
import { mappedBitmapSize, NAMELESS } from "./blocks.js";

/*
 * In a mapped-ram file each entry of the list of blocks is followed by the block's pages, and says where its bitmap and
 * its pages are: the bitmap right after the entry, the pages at the next MiB after the bitmap. So an entry proves itself by
 * where it is, and the place of the next one proves the length of the block.
 */

/** A block of a mapped-ram file, as its entry and its neighbours have it. */
export interface MappedBlock {
  readonly name: string;
  readonly length: number;
  /** Undefined: the block is in a shared file. Without a place of the bitmap, its pages are known alone. */
  readonly mapped?: { readonly bitmapOffset?: number; readonly pagesOffset: number };
}

/** The list of a mapped-ram file, mended where it is damaged. */
export interface MappedList {
  readonly blocks: readonly MappedBlock[];
  /** Number of the section `ram`, as its footer has it. */
  readonly id: number;
  /** Where the first entry begins. */
  readonly start: number;
  /** Offset of the end mark after the last block. */
  readonly end: number;
  /** Whether blocks of shared files are left out. */
  readonly ignoreShared: boolean;
  readonly facts: readonly HeadFact[];
  readonly parts: readonly HeadPart[];
}

/** How a list of blocks is looked for. */
interface MappedSearch {
  /** The first entry is here, or after this. */
  readonly from: number;
  readonly isAtFrom: boolean;
  readonly streamStart: number;
  readonly pageSize: number;
  readonly ignoreShared: boolean;
  /** Whether an entry that agrees with itself is believed where no other follows its pages. */
  readonly isTrusting: boolean;
}

/** An entry as its fields agree with one another. */
interface Entry {
  readonly at: number;
  readonly name: string | undefined;
  readonly length: number | undefined;
  readonly bitmap: number;
  /** As the entry says it; undefined: it can't be. */
  readonly pages: number | undefined;
  readonly isShared: boolean;
  /** Fields that agree; ALL of them in one that is whole. */
  readonly agree: number;
}

const ALL = 8;
/** Fields that agree in an entry that is found without another that leads to it. */
const STRONG = 6;
/** Fields that agree in an entry to which the one before leads. */
const LIKELY = 3;
const MOST_BLOCKS = 4096;
/** How often all of a file is searched, and places at which a header seems to be, and no entry is: bounds the time that a hostile one takes. */
const MOST_SEARCHES = 4;
const MOST_MISSES = 1 << 14;
const LONGEST = 2 ** 46;
const LONGEST_NAME = 255;
/** A name with its length, a length, a page size of the host, an address, a header. */
const WINDOW = 1 + LONGEST_NAME + 24 + mappedRamHeader.size;
const BLOCK = 1 << 20;
/** An end mark and a footer. */
const END = 13;

const u64At = (view: DataView, at: number): number => roughU64(view, at, false);

/**
 * The list of a mapped-ram file, mended; undefined where its blocks don't lead to an end mark.
 * @param search where it isn't known whether blocks of shared files are left out, both are tried
 */
export async function mendMapped(
  input: ByteSource,
  search: Omit<MappedSearch, "ignoreShared" | "isTrusting"> & {
    readonly ignoreShared: boolean | undefined;
    /** Bytes of all blocks; undefined: not known. */
    readonly sum: number | undefined;
  },
): Promise<MappedList | undefined> {
  let best: MappedList | undefined;
  // an entry that agrees with itself may be whole, and the next one damaged, or have another length than it had
  for (const ignoreShared of search.ignoreShared === undefined ? [false, true] : [search.ignoreShared])
    for (const isTrusting of [true, false]) {
      const list = await new MappedListMender(input, { ...search, ignoreShared, isTrusting }).mend();
      const sum = list?.blocks.reduce((all, { length }) => all + length, 0);
      if (list !== undefined && (search.sum === undefined || sum === search.sum)) return list;
      best ??= list;
    }
  return best;
}

/** Walks the entries of a mapped-ram file. */
class MappedListMender {
  readonly #input: ByteSource;
  readonly #search: MappedSearch;
  /** What offsets in the entries count from: the file's start, or the stream's. */
  #base = 0;
  #searched = 0;
  #misses = 0;
  /** Version and page size of a header. */
  readonly #mark = new Uint8Array(12);

  constructor(input: ByteSource, search: MappedSearch) {
    this.#input = input;
    this.#search = search;
    viewOf(this.#mark).setUint32(0, 1);
    viewOf(this.#mark).setUint32(8, search.pageSize);
  }

  /** The list, undefined where its blocks don't lead to an end mark. */
  async mend(): Promise<MappedList | undefined> {
    const { from, isAtFrom, ignoreShared } = this.#search;
    const blocks: MappedBlock[] = [];
    const facts: HeadFact[] = [];
    const parts: HeadPart[] = [];
    const start = isAtFrom ? from : ((await this.#firstEntry()) ?? from);
    for (let at = start; blocks.length < MOST_BLOCKS; ) {
      const id = blocks.length === 0 ? undefined : await this.#endAt(at);
      if (id !== undefined) return { blocks, id, start, end: at, ignoreShared, facts, parts };
      const entry = await this.#entryAt(at);
      const next = entry?.isShared === true ? entry.bitmap : undefined;
      if (entry !== undefined && next !== undefined) {
        const { name = this.#nameless(blocks), length = 0 } = entry;
        if (entry.agree < ALL) this.#mended(entry, name, length, facts, parts);
        blocks.push({ name, length });
        at = next;
        continue;
      }
      const place = await this.#placeOf(at, entry);
      if (place === undefined) return undefined;
      const { pages, length } = place;
      const name = entry?.name ?? this.#nameless(blocks);
      const isWhole = entry?.agree === ALL && entry.pages === pages && entry.length === length;
      if (entry !== undefined && !isWhole) this.#mended({ ...entry, pages }, name, length, facts, parts);
      if (entry === undefined) {
        facts.push({ fact: "name of a RAM block" }, sizeFact(name, length, "where the next block begins"));
        parts.push({ start: at, end: pages, isWhole: false });
      }
      const bitmap = entry === undefined ? {} : { bitmapOffset: entry.bitmap };
      blocks.push({ name, length, mapped: { ...bitmap, pagesOffset: pages } });
      at = pages + length;
    }
    return undefined;
  }

  #nameless(blocks: readonly MappedBlock[]): string {
    const before = blocks.filter(({ name }) => name.startsWith(NAMELESS)).length;
    return before === 0 ? NAMELESS : `${NAMELESS} ${before + 1}`;
  }

  #mended(entry: Entry, name: string, length: number, facts: HeadFact[], parts: HeadPart[]): void {
    parts.push({ start: entry.at, end: entry.bitmap, isWhole: false });
    if (entry.name === undefined) facts.push({ fact: "name of a RAM block" });
    if (entry.length !== length) facts.push(sizeFact(name, length, "where the next block begins"));
    else if (entry.agree < ALL && entry.name !== undefined)
      facts.push({
        fact: `place of RAM block '${name}'`,
        value: `0x${(entry.pages ?? 0).toString(16)}`,
        from: "where its entry is, and its length",
      });
  }

  /** Where a block's pages are, and their length, so that another entry or the end mark follows them. */
  async #placeOf(
    at: number,
    entry: Entry | undefined,
  ): Promise<{ readonly pages: number; readonly length: number } | undefined> {
    const { length, pages, bitmap } = entry ?? { bitmap: at + mappedRamHeader.size };
    if (length !== undefined) {
      const computed = this.#pagesAfter(bitmap, length);
      for (const one of new Set([pages ?? computed, computed])) {
        const next = await this.#entryAt(one + length);
        if ((next?.agree ?? 0) >= LIKELY || (await this.#endAt(one + length)) !== undefined)
          return { pages: one, length };
      }
    }
    const isSure =
      entry !== undefined && entry.agree >= STRONG && length !== undefined && pages !== undefined;
    const stated = isSure && pages + length <= this.#input.size ? { pages, length } : undefined;
    if (stated !== undefined && entry?.agree === ALL && this.#search.isTrusting) return stated;
    // what is before an entry that proves itself
    const first = pages ?? this.#aligned(bitmap);
    const next = await this.#nextFrom(first);
    if (next !== undefined) {
      let one = first;
      while (one < next && this.#pagesAfter(bitmap, next - one) > one) one += MAPPED_ALIGNMENT;
      if (one < next && this.#pagesAfter(bitmap, next - one) === one)
        return { pages: one, length: next - one };
    }
    // damage that reaches into the next entry too
    return stated;
  }

  /** Where pages are whose bitmap begins at `bitmap`. */
  #pagesAfter(bitmap: number, length: number): number {
    const end = bitmap + mappedBitmapSize(Math.ceil(length / this.#search.pageSize));
    return this.#aligned(end);
  }

  #aligned(offset: number): number {
    return this.#base + roundUp(offset - this.#base, MAPPED_ALIGNMENT);
  }

  /** Number of the section whose end mark and footer are at `at`; undefined where none are. */
  async #endAt(at: number): Promise<number | undefined> {
    const bytes = new Uint8Array(END + 1);
    if ((await readBefore(this.#input, at, bytes)) < END) return undefined;
    return this.#endIn(bytes, 0);
  }

  #endIn(bytes: Uint8Array, at: number): number | undefined {
    for (let i = 0; i < 7; i += 1) if (bytes[at + i] !== 0) return undefined;
    if (bytes[at + 7] !== FLAG.eos || bytes[at + 8] !== SECTION.footer) return undefined;
    const id = viewOf(bytes).getUint32(at + 9);
    return id < 1 << 16 ? id : undefined;
  }

  /** The entry at `at`, by the reading of it in which most fields agree; undefined where too few do. */
  async #entryAt(at: number): Promise<Entry | undefined> {
    const bytes = new Uint8Array(WINDOW);
    const length = await readBefore(this.#input, at, bytes);
    return this.#entryIn(bytes.subarray(0, length), at);
  }

  #entryIn(bytes: Uint8Array, at: number): Entry | undefined {
    let best: Entry | undefined;
    // the name's length first: of equals, the first one stays
    const said = bytes[0] ?? 0;
    for (const n of [said, ...Array.from({ length: LONGEST_NAME }, (_, i) => i + 1)]) {
      if (n === 0) continue;
      for (const extra of this.#search.ignoreShared ? [8, 16] : [0, 8]) {
        const entry = this.#read(bytes, at, n, extra);
        if (entry !== undefined && entry.agree > (best?.agree ?? LIKELY - 1)) best = entry;
      }
      if (best !== undefined && best.agree >= ALL) return best;
    }
    return best;
  }

  /** The entry whose name has `n` bytes, with `extra` bytes between its length and its header. */
  #read(bytes: Uint8Array, at: number, n: number, extra: number): Entry | undefined {
    const { pageSize, streamStart, ignoreShared } = this.#search;
    const header = 1 + n + 8 + extra;
    if (header + mappedRamHeader.size > bytes.length) return undefined;
    const view = viewOf(bytes);
    const text = latin1(bytes.subarray(1, 1 + n));
    const said = u64At(view, 1 + n);
    const length = said > 0 && said < LONGEST && said % pageSize === 0 ? said : undefined;
    const version = view.getUint32(header) === 1;
    const size = u64At(view, header + 4) === pageSize;
    const bitmapOffset = u64At(view, header + 12);
    const pagesOffset = u64At(view, header + 20);
    const bitmap = at + header + mappedRamHeader.size;
    const isNamed = bytes[0] === n;
    const common =
      Number(isNamed) + Number(isName(text)) + Number(length !== undefined) + Number(version) + Number(size);
    const isShared = ignoreShared && bitmapOffset === 0 && pagesOffset === 0;
    const isFromStream = streamStart > 0 && bitmapOffset + streamStart === bitmap;
    const isBitmap = bitmapOffset === bitmap || isFromStream;
    // where the header is proves how long the name is
    const name = isName(text) && (isNamed || isBitmap) ? text : undefined;
    if (isShared) return { at, name, length, bitmap, pages: undefined, isShared: true, agree: common + 3 };
    if (isBitmap) this.#base = isFromStream ? streamStart : 0;
    const base = this.#base;
    const isPages = pagesOffset > 0 && pagesOffset % MAPPED_ALIGNMENT === 0 && pagesOffset + base > bitmap;
    const pages = isPages ? pagesOffset + base : undefined;
    const isAfter = pages !== undefined && length !== undefined && this.#pagesAfter(bitmap, length) === pages;
    // without a length the next MiB is as likely
    const isNext = isPages && length === undefined && this.#aligned(bitmap) === pages;
    const agree = common + (isBitmap ? 2 : 0) + Number(isAfter || isNext);
    return { at, name, length, bitmap, pages, isShared: false, agree };
  }

  /** The first place from `from` on at which an entry proves itself, or an end mark is: pages are before it. */
  async #nextFrom(from: number): Promise<number | undefined> {
    const { pageSize } = this.#search;
    const bytes = new Uint8Array(BLOCK + WINDOW);
    for (let start = from + pageSize; start < this.#input.size; start += BLOCK) {
      this.#searched += BLOCK;
      if (this.#searched > MOST_SEARCHES * this.#input.size + BLOCK) return undefined;
      const read = await readBefore(this.#input, start, bytes);
      for (let at = 0; at < BLOCK && at + END <= read; at += pageSize) {
        if (this.#endIn(bytes, at) !== undefined) return start + at;
        if (!this.#mayHoldEntry(bytes, at)) continue;
        const entry = this.#entryIn(bytes.subarray(at, Math.min(read, at + WINDOW)), start + at);
        if (entry !== undefined && entry.agree >= STRONG && !entry.isShared) return start + at;
        this.#misses += 1;
        if (this.#misses > MOST_MISSES) return undefined;
      }
    }
    return undefined;
  }

  /** Whether a header may be near. */
  #mayHoldEntry(bytes: Uint8Array, at: number): boolean {
    return indexOfBytes(bytes.subarray(at, at + WINDOW), this.#mark, 0) >= 0;
  }

  /** The first entry of a section whose head is damaged: by a header that is where it says. */
  async #firstEntry(): Promise<number | undefined> {
    const { from, streamStart, ignoreShared } = this.#search;
    const bytes = new Uint8Array(BLOCK);
    const read = bytes.subarray(0, await readBefore(this.#input, from, bytes));
    const view = viewOf(read);
    const mark = this.#mark;
    for (let at = indexOfBytes(read, mark, 0); at >= 0; at = indexOfBytes(read, mark, at + 1)) {
      if (at + mappedRamHeader.size > read.length) break;
      const bitmap = from + at + mappedRamHeader.size;
      const said = u64At(view, at + 12);
      if (said !== bitmap && said + streamStart !== bitmap) continue;
      for (const extra of ignoreShared ? [8, 16] : [0, 8])
        for (let n = 1; n <= LONGEST_NAME; n += 1) {
          const start = at - extra - 8 - n - 1;
          if (start >= 0 && read[start] === n && isName(latin1(read.subarray(start + 1, start + 1 + n))))
            return from + start;
        }
    }
    return undefined;
  }
}

const sizeFact = (name: string, length: number, from: string): HeadFact => ({
  fact: `size of RAM block '${name}'`,
  value: `${length} bytes`,
  from,
});
