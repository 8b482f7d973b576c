import type { FilePlace } from "../byte-source.js";
import { areZero } from "../zeros.js";
import { CODEC_NAMES, loadCompressor } from "./codec.js";

/** Pages packed one by one, in order. */
export interface PackedPages {
  /** The pages as they came, for their memory to be used again; none where they were read for this alone. */
  readonly pages?: Uint8Array;
  /** Contents of all pages that are not zero, packed or as they are, without gaps. */
  readonly data: Uint8Array;
  /** Bytes of each page within `data`: 0 is a page of zeros, the page's own size one that didn't shrink. */
  readonly sizes: Uint32Array;
}

/** How pages are packed. */
export interface PackSettings {
  /** `none`: zero pages are found, the others stay as they are. */
  readonly codec: string;
  readonly level: number;
}

/** Packs batches of pages, perhaps several at a time. */
export interface PagePool {
  /** Batches that can usefully be under way. */
  readonly width: number;
  /** Takes over the memory of `pages` (a whole number of pages of `pageSize` bytes) for good. */
  pack(pages: Uint8Array, pageSize: number): Promise<PackedPages>;
  /**
   * Packs `length` bytes, whole pages, of an open file: read where they are packed, a little at a time. Gives
   * undefined when they couldn't all be read.
   */
  packFile?(file: FilePlace, length: number, pageSize: number): Promise<PackedPages | undefined>;
  /** Gives back the memory of a result that is done with, for later ones. */
  recycle(packed: PackedPages): void;
  /** Memory for `size` bytes of pages: used before, or new. What it holds is of no meaning. */
  memory(size: number): Uint8Array;
  close(): Promise<void>;
}

/** Buffers of equal size that go round. */
export class BufferStore {
  readonly #free: ArrayBufferLike[] = [];

  /** Takes back what a result is done with. */
  recycle({ pages, data }: PackedPages): void {
    if (pages !== undefined) this.#free.push(pages.buffer);
    this.#free.push(data.buffer);
  }

  take(size: number): Uint8Array {
    const buffer = this.#free.pop();
    return buffer?.byteLength === size ? new Uint8Array(buffer) : new Uint8Array(size);
  }
}

/** Packs one page. */
type Pack = (page: Uint8Array) => Uint8Array;

/** What packs pages as the settings say; undefined: they stay as they are. */
export async function loadPack({ codec, level }: PackSettings): Promise<Pack | undefined> {
  const name = CODEC_NAMES.find((known) => known === codec);
  if (name === undefined) return undefined;
  const compress = await loadCompressor(name);
  return (page) => compress(page, level);
}

/**
 * Packs a batch. `pages` starts at a multiple of 4 in its buffer.
 * @param into Memory for the packed pages, as large as `pages`; what it holds is lost.
 */
export function packPages(
  pages: Uint8Array,
  pageSize: number,
  pack: Pack | undefined,
  into: Uint8Array,
): PackedPages {
  const count = Math.floor(pages.length / pageSize);
  const sizes = new Uint32Array(count);
  const words = new Int32Array(pages.buffer, pages.byteOffset, (count * pageSize) >> 2);
  const perPage = pageSize >> 2;
  let to = 0;
  for (let i = 0; i < count; i += 1) {
    if (areZero(words, i * perPage, (i + 1) * perPage)) continue;
    const page = pages.subarray(i * pageSize, (i + 1) * pageSize);
    const packed = pack?.(page);
    const kept = packed !== undefined && packed.length < pageSize ? packed : page;
    into.set(kept, to);
    sizes[i] = kept.length;
    to += kept.length;
  }
  return { pages, data: into.subarray(0, to), sizes };
}

/** Makes what packs pages. `threads` undefined: as many as are useful. */
export type PoolFactory = (settings: PackSettings, threads?: number) => Promise<PagePool>;

/** Packs in the calling thread: for browsers and small guests. */
export const packInPlace: PoolFactory = async (settings) => {
  const pack = await loadPack(settings);
  const store = new BufferStore();
  return {
    width: 1,
    pack: async (pages, pageSize) => packPages(pages, pageSize, pack, store.take(pages.buffer.byteLength)),
    memory: (size) => store.take(size),
    recycle: (packed) => store.recycle(packed),
    close: async () => undefined,
  };
};
