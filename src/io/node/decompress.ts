import { FormatError, TruncatedError } from "../../findings/errors.js";
import { type ByteSource, type ByteStream, isByteSource, streamOf, type Tear } from "../byte-source.js";
import { type CompressionName, detectCompression } from "../codecs/compressions.js";
import { type Stored, unpackFrames } from "../codecs/frames/unpack-frames.js";
import { decompressStream } from "../codecs/streams.js";
import { peekHead } from "../peek-head.js";
import { withLostBytes } from "../lost-bytes.js";
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
  const kept: ByteSource = {
    name: input.name,
    get size() {
      return spool.size;
    },
    read: (offset, into) => spool.read(offset, into),
  };
  const buffer = new Uint8Array(PIECE);
  try {
    const { damage } = await copySparse(unpacked, spool, buffer, options.progress);
    if (damage !== undefined && options.keepTorn !== true) throw damage;
    const source =
      damage === undefined || compression === undefined || !isByteSource(whole)
        ? {
            ...kept,
            size: spool.size,
            ...(compression && { packed: { compression, tear: damage && tearOf(damage) } }),
          }
        : await unpackedFrames(whole, compression, kept, damage, (frame, at) =>
            copySparse(frame, spool, buffer, options.progress, at),
          );
    return { source, compression, close: () => spool.close() };
  } catch (error) {
    spool.close();
    throw error;
  }
}

/** What is whole of damaged data as a source; without frames, what was unpacked in order. */
async function unpackedFrames(
  packed: ByteSource,
  compression: CompressionName,
  kept: ByteSource,
  damage: FormatError,
  store: (frame: ByteStream, at: number) => Promise<Stored>,
): Promise<ByteSource> {
  const frames = await unpackFrames(compression, packed, damage, store);
  if (frames === undefined)
    return { ...kept, size: kept.size, packed: { compression, tear: tearOf(damage) } };
  const { size, lost, doubtful, tear } = frames;
  return { ...withLostBytes(kept, size, lost), packed: { compression, tear, lost, doubtful } };
}

function tearOf(error: FormatError): Tear {
  const { rule, message, place } = error;
  return { rule, message, isCut: error instanceof TruncatedError, packedOffset: place.offset ?? 0 };
}

/** Copies to `start`, in place of all that is there, and leaves out pieces of zeros. */
async function copySparse(
  stream: ByteStream,
  spool: SpoolFile,
  buffer: Uint8Array<ArrayBuffer>,
  progress: DecompressOptions["progress"],
  start = 0,
): Promise<Stored> {
  const words = wordsOf(buffer);
  let position = start;
  if (spool.size > start) spool.truncate(start);
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
  return { length: position - start, damage };
}
