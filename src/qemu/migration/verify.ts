import type { Diagnostics } from "../../findings/diagnostics.js";
import type { VerifyOptions } from "../../guest/options.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import { openBeside } from "./spooled-stream.js";
import { readStream } from "./read.js";
import type { QevmStream } from "./stream.js";

/**
 * Checks a QEVM stream: framing, sections, RAM records, compressed pages.
 * @param start where the stream begins in a source
 */
export async function verifyStream(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: VerifyOptions,
  start = 0,
): Promise<QevmStream> {
  const zlib = await loadDecompressor("zlib");
  const { progress } = options;
  const beside = await openBeside(options);
  try {
    return await readStream(input, diagnostics, {
      start,
      checkCompressed: true,
      zlib,
      channels: beside.channels,
      progress,
    });
  } finally {
    beside.close();
  }
}
