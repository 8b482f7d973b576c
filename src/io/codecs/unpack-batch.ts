import { FormatError } from "../../findings/errors.js";
import type { FilePlace } from "../byte-source.js";
import { CODEC_NAMES, type CodecName, loadDecompressor, type PageDecompressor } from "./codec.js";

/** Numbers that say where a page is: start within the packed bytes, bytes there, how it is packed. */
export const PLACE_NUMBERS = 3;
/** How a page is packed: as it is, not at all (zeros), else PACKED_WITH and the codec's place in CODEC_NAMES. */
export const PACKED_AS_IS = 0;
export const PACKED_ZEROS = 1;
const PACKED_WITH = 2;

/** The number that says that a page is packed with this codec. */
export const packedWith = (codec: CodecName): number => PACKED_WITH + CODEC_NAMES.indexOf(codec);

/** Pages to be unpacked together. */
export interface PackedBatch {
  /** Their packed bytes, or where those are in a file. */
  readonly packed: Uint8Array | { readonly place: FilePlace; readonly length: number };
  /** PLACE_NUMBERS a page. */
  readonly places: Uint32Array;
  readonly pageSize: number;
}

/** Unpacks batches of pages, several at a time. */
export interface UnpackPool {
  /** Makes codecs ready: those of all batches after it. */
  prepare(codecs: readonly CodecName[]): void;
  /** Batches that can usefully be under way. */
  readonly width: number;
  /**
   * Unpacks a batch, one page after another, to `pages`; takes over the memory of `batch.packed` and `batch.places` for
   * good. Gives undefined when some page can't be unpacked: whoever unpacks it by itself finds out why.
   */
  unpack(batch: PackedBatch): Promise<Uint8Array | undefined>;
  /** Gives back the memory of a result that is done with, for later ones. */
  recycle(pages: Uint8Array): void;
  close(): Promise<void>;
}

/** Unpacking by several threads, which needs a platform. */
export interface Unpackers {
  readonly start: () => UnpackPool;
  /** All of the guest's memory will be read: start while it is being opened. Default: when much of it is read. */
  readonly ahead?: boolean;
}

/** Decompressors by what `packedWith` says of them. */
export async function loadUnpack(
  codecs: readonly CodecName[],
): Promise<readonly (PageDecompressor | undefined)[]> {
  const all: (PageDecompressor | undefined)[] = [];
  for (const codec of codecs) all[packedWith(codec)] = await loadDecompressor(codec);
  return all;
}

/** Fills `into` with the pages of a batch whose packed bytes are at hand. False when one can't be unpacked. */
export function unpackPages(
  packed: Uint8Array,
  places: Uint32Array,
  pageSize: number,
  decompressors: readonly (PageDecompressor | undefined)[],
  into: Uint8Array,
): boolean {
  let to = 0;
  for (let i = 0; i < places.length; i += PLACE_NUMBERS) {
    const start = places[i] ?? 0;
    const how = places[i + 2] ?? PACKED_AS_IS;
    if (how === PACKED_ZEROS) into.fill(0, to, to + pageSize);
    else {
      const bytes = packed.subarray(start, start + (places[i + 1] ?? 0));
      const page = how === PACKED_AS_IS ? bytes : unpackOne(decompressors[how], bytes, pageSize);
      if (page?.length !== pageSize) return false;
      into.set(page, to);
    }
    to += pageSize;
  }
  return true;
}

function unpackOne(
  decompress: PageDecompressor | undefined,
  bytes: Uint8Array,
  pageSize: number,
): Uint8Array | undefined {
  try {
    return decompress?.(bytes, pageSize);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
