import type { ByteStream } from "../../../src/io/byte-source.js";

const PIECE = 4 << 20;

/** A stream as a Blob, to be read at any offset: the browser keeps large ones on disk. Pieces of zeros share one. */
export async function gathered(stream: ByteStream): Promise<Blob> {
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
  return new Blob(parts);
}
