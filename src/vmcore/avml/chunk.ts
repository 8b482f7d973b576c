import { viewOf } from "../../binary/layout.js";
import { CHUNK, CHUNK_CHECKSUM, CHUNK_HEADER, LARGEST_CHUNK } from "./layout.js";

/** Longest length of a chunk's contents as Snappy writes it. */
const LONGEST_LENGTH = 5;
/** Bytes that chunkHead looks at; fewer where the chunk or the input ends before. */
export const CHUNK_HEAD: number = CHUNK_HEADER + CHUNK_CHECKSUM + LONGEST_LENGTH;
/** Snappy's longest copy is 64 bytes, which take three. */
export const MOST_EXPANSION = 22;

/** What a chunk of framed Snappy data begins with. */
export interface ChunkHead {
  readonly kind: number;
  /** Bytes after the header. */
  readonly packed: number;
  /** Bytes that it unpacks to; 0: it holds none. */
  readonly length: number;
}

/** Decodes what a chunk begins with; a sentence for one that can't be. @param bytes CHUNK_HEAD of them, CHUNK_HEADER at least */
export function chunkHead(bytes: Uint8Array): ChunkHead | string {
  const word = viewOf(bytes).getUint32(0, true);
  const kind = word & 0xff;
  const packed = word >>> 8;
  const holds = kind === CHUNK.compressed || kind === CHUNK.uncompressed;
  if (!holds && kind < CHUNK.skippable) return `a chunk is of the unknown kind ${kind}`;
  if (!holds) return { kind, packed, length: 0 };
  if (packed <= CHUNK_CHECKSUM) return `a chunk has ${packed} bytes`;
  const size = packed - CHUNK_CHECKSUM;
  const head = bytes.subarray(CHUNK_HEADER + CHUNK_CHECKSUM, CHUNK_HEADER + packed);
  const length = kind === CHUNK.compressed ? announcedLength(head) : size;
  if (length === undefined || length === 0 || length > LARGEST_CHUNK)
    return `a chunk would unpack to ${length ?? "no number of"} bytes`;
  if (kind === CHUNK.compressed && length > size * MOST_EXPANSION)
    return `a chunk of ${size} bytes can't unpack to ${length}`;
  return { kind, packed, length };
}

/** The length that Snappy data begin with. */
function announcedLength(head: Uint8Array): number | undefined {
  let length = 0;
  for (const [i, byte] of head.entries()) {
    length += (byte & 127) * 128 ** i;
    if (byte < 128) return length;
  }
  return undefined;
}
