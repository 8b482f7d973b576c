import { type ByteSource, readFully, streamOf } from "../byte-source.js";
import { unpackedSource } from "../codecs/frames/unpacked-source.js";
import { detectCompression } from "../codecs/compressions.js";
import { decompressStream } from "../codecs/streams.js";
import { blobSource } from "./blob.js";
import { GatheredBlob } from "./gathered-blob.js";

const HEAD = 64;

/**
 * Unpacks an input that is packed as a whole (zstd, lz4, xz, gzip, bzip2, lzop) into a Blob. Packed data that end early
 * or are damaged are given as far as they unpack: after damage reading goes on at the next part that unpacks by itself.
 * The source's `packed` says what is lost, which `verify`, `inspect` and `openGuest` take into account.
 * @param sourceOf reads the Blob
 * @returns undefined where the input isn't packed
 */
export async function unpackToBlob(
  input: ByteSource,
  sourceOf: (blob: Blob) => ByteSource = (blob) => blobSource(blob, input.name),
): Promise<ByteSource | undefined> {
  const head = new Uint8Array(HEAD);
  const compression = detectCompression(head.subarray(0, await readFully(input, 0, head)));
  if (compression === undefined) return undefined;
  const unpacked = new GatheredBlob(sourceOf);
  const { damage } = await unpacked.store(decompressStream(compression, streamOf(input)), 0);
  return unpackedSource(compression, input, unpacked, damage);
}
