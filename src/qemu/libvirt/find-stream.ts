import { FormatError } from "../../findings/errors.js";
import { indexOfBytes } from "../../io/byte-search.js";
import { type ByteSource, readFully, sliceSource, streamOf } from "../../io/byte-source.js";
import {
  COMPRESSION_NAMES,
  type CompressionName,
  detectCompression,
  magicOf,
} from "../../io/codecs/compressions.js";
import { decompressStream } from "../../io/codecs/streams.js";
import { readBefore } from "../../io/lost-bytes.js";
import { beginsStream, findStreamStart, STREAM_HEAD } from "../migration/find-start.js";
import { latin1Bytes } from "../../binary/layout.js";
import { COMPRESSION, type SaveCompression } from "./layout.js";

/** The stream in a save: where it begins in the file, and how it is compressed. */
export interface FoundStream {
  readonly at: number;
  readonly compression: SaveCompression;
}

/** How far a stream is looked for: libvirt's XML and the room after it are much shorter. */
const FARTHEST = 1 << 20;
/** Places at which packed data seem to begin, and none do. */
const MOST_TRIES = 256;
/** Packed bytes that hold the first ones of a stream: a block of bzip2 is unpacked as a whole. */
const FIRST_PACKED = 1 << 20;
/** The same of xz, whose decoder must be done with one stream before it takes another: all of them are unpacked. */
const FIRST_OF_XZ = 64 << 10;

const SPARSE = latin1Bytes("mapped-ram");
/** Bytes at the start of a stream that name its capabilities. */
const CAPABILITIES = 1024;

const isSaveCompression = (name: string): name is SaveCompression & CompressionName =>
  (COMPRESSION as readonly string[]).includes(name);

/** How the stream that begins at `at` is compressed; undefined where none does. */
export async function streamAt(input: ByteSource, at: number): Promise<SaveCompression | undefined> {
  const bytes = new Uint8Array(CAPABILITIES);
  const head = bytes.subarray(0, await readBefore(input, at, bytes));
  if (beginsStream(head)) return indexOfBytes(head, SPARSE, 0) >= 0 ? "sparse" : "raw";
  const compression = detectCompression(head);
  if (compression === undefined || !isSaveCompression(compression)) return undefined;
  const unpacked = await firstUnpacked(input, at, compression);
  return beginsStream(unpacked) ? compression : undefined;
}

/** The first bytes that packed data give; none where they are damaged. */
async function firstUnpacked(
  input: ByteSource,
  at: number,
  compression: CompressionName,
): Promise<Uint8Array> {
  const isXz = compression === "xz";
  const packed = sliceSource(input, at, isXz ? FIRST_OF_XZ : FIRST_PACKED);
  const stream = decompressStream(compression, streamOf(packed), at);
  const bytes = new Uint8Array(STREAM_HEAD);
  const rest = new Uint8Array(FIRST_OF_XZ);
  let filled = 0;
  try {
    for (;;) {
      const isFull = filled === bytes.length;
      if (isFull && !isXz) break;
      const n = await stream.read(isFull ? rest : bytes.subarray(filled));
      if (n === 0) break;
      if (!isFull) filled += n;
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
  return bytes.subarray(0, filled);
}

/** The first bytes of each compression that libvirt uses. */
const MAGICS: readonly Uint8Array[] = COMPRESSION_NAMES.filter(isSaveCompression).map(magicOf);

/** The stream in the first MiB of a file, from `from` on, by its own first bytes. */
export async function findStream(input: ByteSource, from: number): Promise<FoundStream | undefined> {
  const plain = await findStreamStart(input);
  const bytes = new Uint8Array(Math.min(input.size, plain ?? FARTHEST));
  const read = bytes.subarray(0, await readFully(input, 0, bytes));
  const places: number[] = [];
  for (const magic of MAGICS)
    for (let at = indexOfBytes(read, magic, from); at >= 0; at = indexOfBytes(read, magic, at + 1)) {
      if (places.length >= MOST_TRIES * MAGICS.length) break;
      places.push(at);
    }
  for (const at of places.sort((a, b) => a - b).slice(0, MOST_TRIES)) {
    const compression = await streamAt(input, at);
    if (compression !== undefined) return { at, compression };
  }
  if (plain === undefined) return undefined;
  return { at: plain, compression: (await streamAt(input, plain)) ?? "raw" };
}
