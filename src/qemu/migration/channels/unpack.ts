import type { ByteSource, ByteStream } from "../../../io/byte-source.js";
import { ByteReader } from "../../../io/byte-reader.js";
import { streamOfPieces } from "../../../io/codecs/pieces.js";
import { unzlib } from "../../../io/codecs/zlib-stream.js";
import { decompressStream } from "../../../io/codecs/streams.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { FormatError } from "../../../findings/errors.js";

/** Compressions of multifd, each one stream over a whole channel, flushed at the end of every packet. */
export type Codec = "zlib" | "zstd";

/** Packets of a channel that hold pages with contents: for unpacking. */
export interface PackedRun {
  /** In the log. */
  readonly packet: number;
  /** Offset and bytes of the packed contents. */
  readonly offset: number;
  readonly length: number;
  readonly pages: number;
}

/** The streams are never ended: an empty last block ends zstd's (RFC 8878, Blocks). */
const ZSTD_END = Uint8Array.of(1, 0, 0);
const PIECE = 64 << 10;

/**
 * Unpacks the contents of a channel's packets in order and hands them to `keep`.
 * @throws FormatError when they give less than `wanted` bytes; what they gave before is kept
 */
export async function unpackPages(
  source: ByteSource,
  codec: Codec,
  runs: readonly PackedRun[],
  wanted: number,
  keep: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const packed = packedStream(source, runs, codec);
  // a platform's own zlib gives nothing back of the end of a stream that has none
  const stream =
    codec === "zstd"
      ? decompressStream(codec, packed)
      : streamOfPieces(source.name, unzlib(new ByteReader(packed)));
  const piece = new Uint8Array(PIECE);
  let left = wanted;
  while (left > 0) {
    const n = await stream.read(piece.subarray(0, Math.min(piece.length, left)));
    if (n === 0)
      throw new FormatError(
        QEMU_MIGRATION_RULES.channelData,
        `its packets unpack to ${left} bytes less than they say`,
      );
    await keep(piece.subarray(0, n));
    left -= n;
  }
}

/** The packed bytes of all runs, one after another. */
function packedStream(source: ByteSource, runs: readonly PackedRun[], codec: Codec): ByteStream {
  let run = 0;
  let within = 0;
  let isEnded = codec === "zlib";
  return {
    name: source.name,
    async read(into) {
      for (let current = runs[run]; current !== undefined; current = runs[run]) {
        const n = Math.min(into.length, current.length - within);
        if (n > 0) {
          const done = await source.read(current.offset + within, into.subarray(0, n));
          within += done;
          return done;
        }
        run += 1;
        within = 0;
      }
      if (isEnded) return 0;
      isEnded = true;
      into.set(ZSTD_END);
      return ZSTD_END.length;
    },
  };
}
