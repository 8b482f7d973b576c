import { type ByteSource, type ByteStream, isByteSource, streamOf } from "../byte-source.js";
import { detectCompression } from "../codecs/compressions.js";
import { decompressStream } from "../codecs/streams.js";
import { peekHead } from "../peek-head.js";
import { isZero, wordsOf } from "../zeros.js";
import { SpoolFile } from "./output.js";

const PIECE = 1 << 20;
const HEAD = 64;

/** How a compressed or piped input is unpacked. */
export interface DecompressOptions {
  /** Folder of the temporary file; default the system's. */
  readonly directory?: string;
  /** Bytes unpacked so far. */
  readonly progress?: (done: number) => void;
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
 * @throws FormatError `codec/…` when the packed bytes are damaged.
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
  try {
    await copySparse(unpacked, spool, options.progress);
  } catch (error) {
    spool.close();
    throw error;
  }
  const source: ByteSource = {
    name: input.name,
    size: spool.size,
    read: (offset, into) => spool.read(offset, into),
  };
  return { source, compression, close: () => spool.close() };
}

/** Copies, leaving out pieces of zeros. */
async function copySparse(
  stream: ByteStream,
  spool: SpoolFile,
  progress: DecompressOptions["progress"],
): Promise<void> {
  const buffer = new Uint8Array(PIECE);
  const words = wordsOf(buffer);
  let position = 0;
  for (;;) {
    let filled = 0;
    while (filled < PIECE) {
      const read = stream.read(buffer.subarray(filled));
      const got = read instanceof Promise ? await read : read;
      if (got === 0) break;
      filled += got;
    }
    if (filled === 0) break;
    const hole = filled === PIECE && isZero(buffer, words);
    if (!hole) await spool.writeAt(position, buffer.subarray(0, filled));
    position += filled;
    progress?.(position);
    if (filled < PIECE) break;
  }
  spool.truncate(position);
}
