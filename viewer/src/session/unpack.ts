import { type ByteSource, readFully, streamOf } from "../../../src/io/byte-source.js";
import { type CompressionName, detectCompression } from "../../../src/io/codecs/compressions.js";
import { decompressStream } from "../../../src/io/codecs/streams.js";

const HEAD = 64;
const PIECE = 4 << 20;

/** A packed input unpacked: the browser keeps large Blobs on disk. */
export interface Unpacked {
  /** Undefined: it isn't packed. */
  readonly blob?: Blob;
  readonly compression?: CompressionName;
}

/** Unpacks an input that is packed as a whole; pieces of zeros share one Blob. @throws FormatError `codec/…` */
export async function unpacked(source: ByteSource): Promise<Unpacked> {
  const head = new Uint8Array(HEAD);
  const n = await readFully(source, 0, head);
  const compression = detectCompression(head.subarray(0, n));
  if (compression === undefined) return {};
  const stream = decompressStream(compression, streamOf(source));
  const zeros = new Blob([new Uint8Array(PIECE)]);
  const parts: Blob[] = [];
  const buffer = new Uint8Array(PIECE);
  const words = new BigUint64Array(buffer.buffer);
  for (;;) {
    let filled = 0;
    while (filled < PIECE) {
      const got = await stream.read(buffer.subarray(filled));
      if (got === 0) break;
      filled += got;
    }
    if (filled === 0) break;
    const isZero = filled === PIECE && words.every((word) => word === 0n);
    parts.push(isZero ? zeros : new Blob([buffer.slice(0, filled)]));
    if (filled < PIECE) break;
  }
  return { blob: new Blob(parts), compression };
}
