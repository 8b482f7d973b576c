import { HEAD_SIZE } from "../guest/options.js";
import { peekHead } from "../io/peek-head.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { detectCompression } from "../io/codecs/compressions.js";
import { type DecompressOptions, openRandomAccess } from "../io/node/decompress.js";
import { findFormat } from "../open/detect.js";

/** An input as `verify` and `inspect` take it, and what must be given back. */
export interface ReadableInput {
  readonly input: ByteSource | ByteStream;
  close(): void;
}

/**
 * A packed input is unpacked, as far as it unpacks, into a temporary file; so is a pipe whose format is read at any offset,
 * or that must be. Any other pipe is read as it comes.
 * @param isRandom whether what is done with the input needs any offset of it
 */
export async function readableInput(
  input: ByteSource | ByteStream,
  options: DecompressOptions,
  isRandom = false,
): Promise<ReadableInput> {
  if (!isByteSource(input) && !isRandom) {
    const { head, input: whole } = await peekHead(input, HEAD_SIZE);
    const isPacked = detectCompression(head) !== undefined;
    const format = isPacked ? undefined : await findFormat(head);
    if (!isPacked && format?.reader.access !== "random") return { input: whole, close: () => undefined };
    input = whole;
  }
  const access = await openRandomAccess(input, { ...options, keepTorn: true });
  return { input: access.source, close: () => access.close() };
}
