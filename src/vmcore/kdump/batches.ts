import type { PageMap } from "../../guest/page-map.js";
import { isToken, tokenOf } from "../../guest/page-codes.js";
import type { RunWalk } from "../../guest/page-index.js";
import {
  PACKED_AS_IS,
  PACKED_ZEROS,
  packedWith,
  PLACE_NUMBERS,
  type PackedBatch,
} from "../../io/codecs/unpack-batch.js";
import { codecOf, type Descriptor, type KdumpPages } from "./pages.js";

/** Bytes of pages that are unpacked together. */
const BATCH = 512 << 10;
/** Bytes of zeros that go by themselves, without contents, and how many of them at most. */
const SHORT_ZEROS = 64 << 10;
const MOST_ZEROS = 8 << 20;
/** What may be between the packed bytes of one batch, in multiples of what it unpacks to. */
const MOST_SPREAD = 2;

/** Pages in a row to be unpacked together, or known to be zeros. */
export interface PageBatch {
  /** Guest frame of the first. */
  readonly frame: number;
  readonly count: number;
  /** Undefined: all zeros. */
  readonly batch: PackedBatch | undefined;
}

/** Cuts a kdump's pages into batches, by their descriptors, without an object a page. */
export class Batches {
  readonly #pageSize: number;
  readonly #walk: RunWalk;
  readonly #pagesOf: (token: number) => KdumpPages;
  readonly #most: number;
  readonly #shortZeros: number;
  /** What is left of the run at hand. */
  #frame = 0;
  #left = 0;
  #token = 0;
  /** Of the batch at hand: numbers a page, and where the packed bytes begin and end in the file. */
  readonly #places: Float64Array;
  #start = 0;
  #end = 0;

  /** @param pagesOf the file that has a token's descriptor */
  constructor(map: PageMap, first: number, last: number, pagesOf: (token: number) => KdumpPages) {
    this.#pageSize = map.pageSize;
    this.#walk = map.runs(first, last);
    this.#pagesOf = pagesOf;
    this.#most = Math.max(1, BATCH / map.pageSize);
    this.#shortZeros = Math.max(1, SHORT_ZEROS / map.pageSize);
    this.#places = new Float64Array(this.#most * PLACE_NUMBERS);
  }

  /** The next batch; undefined after the last. */
  async next(): Promise<PageBatch | undefined> {
    while (this.#left === 0) {
      if (!this.#walk.next()) return undefined;
      if (!isToken(this.#walk.code)) continue;
      this.#frame = this.#walk.frame;
      this.#left = this.#walk.count;
      this.#token = tokenOf(this.#walk.code);
    }
    const pages = this.#pagesOf(this.#token);
    const frame = this.#frame;
    const zeros = await this.#zeros(pages);
    if (zeros >= this.#shortZeros) return this.#take(zeros, frame, undefined);
    const count = await this.#gather(pages);
    return this.#take(count, frame, await this.#pack(pages, count));
  }

  #take(count: number, frame: number, batch: PackedBatch | undefined): PageBatch {
    this.#frame += count;
    this.#left -= count;
    this.#token += count;
    return { frame, count, batch };
  }

  /** Pages from here on that share the page of zeros. */
  async #zeros(pages: KdumpPages): Promise<number> {
    const most = Math.min(this.#left, MOST_ZEROS / this.#pageSize);
    for (let i = 0; i < most; i += 1) {
      const token = this.#token + i;
      if (i > 0 && this.#pagesOf(token) !== pages) return i;
      const found = pages.descriptor(token);
      if (!pages.isShared(found instanceof Promise ? await found : found)) return i;
    }
    return most;
  }

  /** Notes the places of pages from here on, up to a long run of zeros or the end of a file's descriptors. */
  async #gather(pages: KdumpPages): Promise<number> {
    const most = Math.min(this.#left, this.#most);
    const places = this.#places;
    this.#start = Number.POSITIVE_INFINITY;
    this.#end = 0;
    let zeros = 0;
    let count = 0;
    for (; count < most && zeros < this.#shortZeros; count += 1) {
      const token = this.#token + count;
      if (count > 0 && this.#pagesOf(token) !== pages) break;
      const read = pages.descriptor(token);
      const found = read instanceof Promise ? await read : read;
      const at = count * PLACE_NUMBERS;
      const isShared = pages.isShared(found);
      zeros = isShared ? zeros + 1 : 0;
      places[at] = found.offset;
      places[at + 1] = isShared ? 0 : found.size;
      places[at + 2] = isShared ? PACKED_ZEROS : howPacked(found);
      if (isShared) continue;
      this.#start = Math.min(this.#start, found.offset);
      this.#end = Math.max(this.#end, found.offset + found.size);
    }
    // a long run of zeros is a batch of its own
    return zeros < this.#shortZeros ? count : Math.max(1, count - zeros);
  }

  /** Reads the packed bytes of the pages that were gathered, or says where they are in an open file. */
  async #pack(pages: KdumpPages, count: number): Promise<PackedBatch> {
    const { source } = pages.file;
    const places = new Uint32Array(count * PLACE_NUMBERS);
    const length = Math.max(0, this.#end - this.#start);
    const isNear = length <= MOST_SPREAD * count * this.#pageSize;
    let total = 0;
    for (let i = 0; i < places.length; i += PLACE_NUMBERS) {
      const size = this.#places[i + 1] ?? 0;
      places[i] = isNear && size > 0 ? (this.#places[i] ?? 0) - this.#start : total;
      places[i + 1] = size;
      places[i + 2] = this.#places[i + 2] ?? PACKED_AS_IS;
      total += size;
    }
    const pageSize = this.#pageSize;
    if (isNear && length > 0 && source.file !== undefined) {
      const place = { fd: source.file.fd, offset: source.file.offset + this.#start };
      return { packed: { place, length }, places, pageSize };
    }
    const packed = new Uint8Array(isNear ? length : total);
    if (isNear) await source.read(this.#start, packed);
    else
      for (let i = 0; i < places.length; i += PLACE_NUMBERS) {
        const [to = 0, size = 0] = [places[i], places[i + 1]];
        const read = source.read(this.#places[i] ?? 0, packed.subarray(to, to + size));
        if (read instanceof Promise) await read;
      }
    return { packed, places, pageSize };
  }
}

function howPacked({ flags }: Descriptor): number {
  const codec = codecOf(flags);
  return codec === undefined ? PACKED_AS_IS : packedWith(codec);
}
