import type { ByteReader } from "../byte-reader.js";
import { FormatError } from "../../findings/errors.js";
import { CODEC_RULES } from "../rules.js";
import { adler32 } from "./checksums.js";
import { FflateSteps } from "./fflate-steps.js";
import { remaining } from "./pieces.js";

/** Bytes of input handed to the decoder at a time: bounds what it gives back at once. */
const STEP = 4096;
/** Adler-32 at the end of the stream. */
const TRAILER = 4;

/**
 * Unpacks a zlib stream (RFC 1950).
 * @throws FormatError `codec/zlib`
 */
export async function* unzlib(reader: ByteReader): AsyncIterable<Uint8Array> {
  const { Unzlib } = await import("fflate");
  const steps = new FflateSteps(CODEC_RULES.zlib, "zlib");
  let sum = 1;
  let trailer = new Uint8Array(0);
  const decoder = new Unzlib((piece) => {
    steps.take(piece);
    sum = adler32(piece, sum);
  });
  for await (const chunk of remaining(reader, STEP)) {
    trailer = Uint8Array.from([...trailer, ...chunk.subarray(-TRAILER)].slice(-TRAILER));
    yield* steps.push(decoder, chunk, false);
  }
  yield* steps.push(decoder, new Uint8Array(0), true);
  // the decoder leaves the sum to us
  if (trailer.length < TRAILER || new DataView(trailer.buffer).getUint32(0, false) !== sum)
    throw new FormatError(CODEC_RULES.zlib, "zlib data: it ends early, or its checksum is wrong");
}
