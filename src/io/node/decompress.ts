import { type ByteSource, type ByteStream, isByteSource, streamOf } from "../byte-source.js";
import { detectCompression } from "../codecs/compressions.js";
import { SpoolStore } from "../codecs/frames/spool-store.js";
import { unpackedSource } from "../codecs/frames/unpacked-source.js";
import { decompressStream } from "../codecs/streams.js";
import { peekHead } from "../peek-head.js";
import { KeptStream } from "./kept-stream.js";
import { SpoolFile } from "./output.js";

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
  const unpacked = new SpoolStore(spool, input.name, options.progress);
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
