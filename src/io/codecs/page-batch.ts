import type { PageCodec } from "./codec.js";

/** Pages packed one by one, in order. */
export interface PackedPages {
  /** The pages as they came, for their memory to be used again. */
  readonly pages: Uint8Array;
  /** Contents of all pages that are not zero, packed or as they are, without gaps. */
  readonly data: Uint8Array;
  /** Octets of each page within `data`: 0 is a page of zeros, the page's own size one that didn't shrink. */
  readonly sizes: Uint32Array;
}

/** How pages are packed. */
export interface PackSettings {
  /** `none`: zero pages are found, the others stay as they are. */
  readonly codec: string;
  readonly level: number;
  readonly pageSize: number;
}

/** Packs batches of pages, perhaps several at a time. */
export interface PagePool {
  /** Batches that can usefully be under way. */
  readonly width: number;
  /** Takes over the memory of `pages` (a whole number of pages) until the promise resolves. */
  pack(pages: Uint8Array): Promise<PackedPages>;
  close(): Promise<void>;
}

function isZeroPage(words: BigUint64Array, from: number, to: number): boolean {
  for (let i = from; i < to; i += 1) if (words[i] !== 0n) return false;
  return true;
}

/** Packs a batch. `pages` starts at a multiple of 8 in its buffer; without a codec pages stay as they are. */
export function packPages(
  pages: Uint8Array,
  { level, pageSize }: PackSettings,
  codec: PageCodec | undefined,
): PackedPages {
  const count = Math.floor(pages.length / pageSize);
  const sizes = new Uint32Array(count);
  const data = new Uint8Array(count * pageSize);
  const words = new BigUint64Array(pages.buffer, pages.byteOffset, (count * pageSize) >> 3);
  const perPage = pageSize >> 3;
  let to = 0;
  for (let i = 0; i < count; i += 1) {
    // nearly every page shows in its first words that it isn't zero
    if (words[i * perPage] === 0n && isZeroPage(words, i * perPage, (i + 1) * perPage)) continue;
    const page = pages.subarray(i * pageSize, (i + 1) * pageSize);
    const packed = codec?.compress?.(page, level);
    const kept = packed !== undefined && packed.length < pageSize ? packed : page;
    data.set(kept, to);
    sizes[i] = kept.length;
    to += kept.length;
  }
  return { pages, data: data.subarray(0, to), sizes };
}
