import { type ByteSource, readFully, streamOf } from "../../../src/io/byte-source.js";
import { type CompressionName, detectCompression } from "../../../src/io/codecs/compressions.js";
import { decompressStream } from "../../../src/io/codecs/streams.js";
import { gathered } from "./gather.js";

const HEAD = 64;

/** A packed input unpacked. */
export interface Unpacked {
  /** Undefined: it isn't packed. */
  readonly blob?: Blob;
  readonly compression?: CompressionName;
}

/** Unpacks an input that is packed as a whole. @throws FormatError `codec/…` */
export async function unpacked(source: ByteSource): Promise<Unpacked> {
  const head = new Uint8Array(HEAD);
  const n = await readFully(source, 0, head);
  const compression = detectCompression(head.subarray(0, n));
  if (compression === undefined) return {};
  return { blob: await gathered(decompressStream(compression, streamOf(source))), compression };
}
