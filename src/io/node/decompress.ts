import { FormatError, TruncatedError } from "../../findings/errors.js";
import { type ByteSource, type ByteStream, isByteSource, streamOf, type Tear } from "../byte-source.js";
import { detectCompression } from "../codecs/compressions.js";
import { decompressStream } from "../codecs/streams.js";
import { peekHead } from "../peek-head.js";
import { isZero, wordsOf } from "../zeros.js";
import { SpoolFile } from "./output.js";

const PIECE = 1 << 20;
const HEAD = 64;

/** How a compressed or piped input is unpacked. */
export interface DecompressOptions {
  /** Directory of the temporary file; default the system's. */
  readonly directory?: string;
  /** Bytes unpacked so far. */
  readonly progress?: (done: number) => void;
  /**
   * Packed data that end early or are damaged are given as far as they unpack, with `packed.tear`, which `verify`,
   * `inspect` and `openGuest` take into account. Default: they are an error.
   */
  readonly keepTorn?: boolean;
}

/** An input that can be read at any offset, and what must be given back. */
export interface RandomAccess {
  readonly source: ByteSource;
  /** Name of the compression it was packed with; undefined: it was not. */
  readonly compression: string | undefined;
  close(): void;
}

/**
 * An input as a source: one that is packed (zstd, lz4, xz, gzip, bzip2, lzop, as systemd-coredump and people store
 * cores) or comes through a pipe is unpacked into a temporary file without a name; zeros become holes.
 *
 * @throws FormatError `codec/…` when the packed bytes are damaged or end early, unless `keepTorn`
 */
export async function openRandomAccess(
  input: ByteSource | ByteStream,
  options: DecompressOptions = {},
): Promise<RandomAccess> {
  const { head, input: whole } = await peekHead(input, HEAD);
  const compression = detectCompression(head);
  if (compression === undefined && isByteSource(whole))
    return { source: whole, compression, close: () => undefined };
  const stream = isByteSource(whole) ? streamOf(whole) : whole;
  const unpacked = compression === undefined ? stream : decompressStream(compression, stream);
  const spool = new SpoolFile(options.directory);
  let tear: Tear | undefined;
  try {
    const error = await copySparse(unpacked, spool, options.progress);
    if (error !== undefined && options.keepTorn !== true) throw error;
    tear = error && tearOf(error);
  } catch (error) {
    spool.close();
    throw error;
  }
  const source: ByteSource = {
    name: input.name,
    size: spool.size,
    ...(compression === undefined ? {} : { packed: { compression, tear } }),
    read: (offset, into) => spool.read(offset, into),
  };
  return { source, compression, close: () => spool.close() };
}

function tearOf(error: FormatError): Tear {
  const { rule, message, place } = error;
  return { rule, message, isCut: error instanceof TruncatedError, packedOffset: place.offset ?? 0 };
}

/** Copies, leaving out pieces of zeros. Answers with the codec's error that ended it, if any. */
async function copySparse(
  stream: ByteStream,
  spool: SpoolFile,
  progress: DecompressOptions["progress"],
): Promise<FormatError | undefined> {
  const buffer = new Uint8Array(PIECE);
  const words = wordsOf(buffer);
  let position = 0;
  let damage: FormatError | undefined;
  for (;;) {
    let filled = 0;
    try {
      while (filled < PIECE) {
        const read = stream.read(buffer.subarray(filled));
        const got = read instanceof Promise ? await read : read;
        if (got === 0) break;
        filled += got;
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      damage = error;
    }
    const hole = filled === PIECE && isZero(buffer, words);
    if (filled > 0 && !hole) await spool.writeAt(position, buffer.subarray(0, filled));
    position += filled;
    progress?.(position);
    if (filled < PIECE) break;
  }
  spool.truncate(position);
  return damage;
}
