import { FormatError } from "../findings/errors.js";
import { HEAD_SIZE, type VerifyOptions } from "../guest/options.js";
import { type ByteSource, type ByteStream, streamOf } from "../io/byte-source.js";
import { detectCompression } from "../io/codecs/compressions.js";
import { decompressStream } from "../io/codecs/streams.js";
import { peekHead } from "../io/peek-head.js";
import { findFormat } from "./detect.js";
import { type Verification, verify } from "./open.js";

/**
 * Checks a packed input while it is unpacked, which needs no room for what it unpacks to.
 * @returns undefined where this doesn't prove it valid: an input that isn't packed, one of a format that is read at any
 * offset, one with anything after its end, and one with a fault or a warning, of which a reader that can go back sees more
 * @throws SystemError when it can't be read
 */
export async function verifyPacked(
  packed: ByteSource,
  options: VerifyOptions & { readonly strict?: boolean },
): Promise<Verification | undefined> {
  const compression = detectCompression((await peekHead(packed, HEAD_SIZE)).head);
  if (compression === undefined || options.qemu?.offset !== undefined) return undefined;
  let size = 0;
  const unpacked = decompressStream(compression, streamOf(packed));
  const counted: ByteStream = {
    name: packed.name,
    async read(into) {
      const n = await unpacked.read(into);
      size += n;
      return n;
    },
  };
  try {
    const { head, input } = await peekHead(counted, HEAD_SIZE);
    if ((await findFormat(head))?.reader.access !== "sequential") return undefined;
    const verification = await verify(input, options);
    const { report } = verification;
    const isWhole = report.count("error") + report.count("warning") === 0;
    if (!isWhole || (await input.read(new Uint8Array(1))) > 0) return undefined;
    return { ...verification, packed: { compression, size } };
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
