import { FormatError } from "../../findings/errors.js";
import { type ByteSource, type ByteStream, isByteSource, streamOf } from "../byte-source.js";
import { detectCompression } from "../codecs/compressions.js";
import type { Stored } from "../codecs/frames/unpack-frames.js";
import { unpackedSource, type UnpackStore } from "../codecs/frames/unpacked-source.js";
import { decompressStream } from "../codecs/streams.js";
import { peekHead } from "../peek-head.js";
import { isZero, wordsOf } from "../zeros.js";
import { KeptStream } from "./kept-stream.js";
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
   * `inspect` and `openGuest` take into account, and read on at the next part that unpacks by itself. For that a packed
   * pipe is kept in a second temporary file meanwhile. Default: they are an error.
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
  const spool = new SpoolFile(options.directory);
  const buffer = new Uint8Array(PIECE);
  const unpacked: UnpackStore = {
    store: (stream, at) => copySparse(stream, spool, buffer, options.progress, at),
    source: () => ({
      name: input.name,
      size: spool.size,
      read: (offset, into) => spool.read(offset, into),
    }),
  };
  let pipe: KeptStream | undefined;
  try {
    const keeps = compression !== undefined && options.keepTorn === true && !isByteSource(whole);
    pipe = keeps ? new KeptStream(whole, options.directory) : undefined;
    const stream = pipe ?? (isByteSource(whole) ? streamOf(whole) : whole);
    const { damage } = await unpacked.store(
      compression === undefined ? stream : decompressStream(compression, stream),
      0,
    );
    if (damage !== undefined && options.keepTorn !== true) throw damage;
    const packed = damage && (isByteSource(whole) ? whole : await pipe?.whole());
    const source =
      compression === undefined
        ? unpacked.source()
        : await unpackedSource(compression, packed, unpacked, damage);
    return { source, compression, close: () => spool.close() };
  } catch (error) {
    spool.close();
    throw error;
  } finally {
    pipe?.close();
  }
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
