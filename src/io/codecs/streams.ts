import { CODEC_RULES } from "../rules.js";
import { ByteReader } from "../byte-reader.js";
import type { ByteStream } from "../byte-source.js";
import { FormatError, GuestscopeError, TruncatedError } from "../../findings/errors.js";
import type { CompressionName } from "./compressions.js";
import { crc32 } from "./checksums.js";
import { FflateSteps } from "./fflate-steps.js";
import { joined, remaining, streamOfPieces, type Unpacker } from "./pieces.js";

/** Bytes of input handed to a decoder that gives back all of their output at once: bounds that output. */
const SMALL_STEP = 4096;
/** CRC-32 and length at the end of a gzip member. */
const TRAILER = 8;

/** Each loaded when it is first used. */
const unpackers: Record<CompressionName, Unpacker> = {
  gzip: gunzip,
  xz: loaded(async () => (await import("./xz-stream.js")).unxz),
  zstd: loaded(async () => (await import("./zstd-frames.js")).unzstd),
  lz4: loaded(async () => (await import("./lz4.js")).unlz4),
  bzip2: loaded(async () => (await import("./bzip2.js")).bunzip2),
  zlib: loaded(async () => (await import("./zlib-stream.js")).unzlib),
  lzop: loaded(async () => (await import("./lzop.js")).unlzop),
};

/** An unpacker that is loaded when it is first used. */
export function loaded(load: () => Promise<Unpacker>): Unpacker {
  return async function* unpack(reader) {
    yield* (await load())(reader);
  };
}

/** Puts another implementation in place, such as a platform's own. */
export function installUnpacker(name: CompressionName, unpacker: Unpacker): void {
  unpackers[name] = unpacker;
}

/**
 * Unpacks a stream as it is read; memory stays bounded by the format's window. What can be unpacked comes before any
 * error. Reading throws FormatError `codec/<name>` when the input is damaged, TruncatedError when it ends early, both
 * with the offset in the packed input.
 * @param start offset of the stream's first byte in the input that it is part of
 */
export function decompressStream(name: CompressionName, stream: ByteStream, start = 0): ByteStream {
  const reader = new ByteReader(stream, { start });
  return streamOfPieces(stream.name, located(name, reader));
}

/** Adds the place to errors, and turns what foreign decoders throw into errors of this project. */
async function* located(name: CompressionName, reader: ByteReader): AsyncIterable<Uint8Array> {
  try {
    yield* unpackers[name](reader);
  } catch (error) {
    if (error instanceof GuestscopeError && error.place.source !== undefined) throw error;
    if (error instanceof TruncatedError) {
      const place = { source: reader.name, offset: reader.position + reader.available };
      throw new TruncatedError(error.rule, error.message, error.missing, place);
    }
    if (error instanceof FormatError)
      throw new FormatError(error.rule, error.message, {
        source: reader.name,
        offset: error.place.offset ?? reader.position,
      });
    if (error instanceof GuestscopeError) throw error;
    const place = { source: reader.name, offset: reader.position };
    throw new FormatError(CODEC_RULES[name], `${name} data: ${(error as Error).message}`, place);
  }
}

/** Checks the sum and length of each member, which the decoder passes over. */
async function* gunzip(reader: ByteReader): AsyncIterable<Uint8Array> {
  const { Gunzip } = await import("fflate");
  const steps = new FflateSteps(CODEC_RULES.gzip, "gzip");
  /** The last bytes that the decoder was given, and their end from the first on. */
  let given: Uint8Array = new Uint8Array(0);
  let end = 0;
  let sum = 0;
  let size = 0;
  const decoder = new Gunzip((piece) => {
    steps.take(piece);
    sum = crc32(piece, sum);
    size += piece.length;
  });
  /** Whether what ends before an offset is what came of the member. Of one whose next header is longer than a step it isn't seen. */
  const isSound = (next: number): boolean => {
    const at = given.length - (end - next) - TRAILER;
    if (at < 0) return next > TRAILER && next < end;
    const view = new DataView(given.buffer, given.byteOffset + at, TRAILER);
    return view.getUint32(0, true) === sum && view.getUint32(4, true) === size % 2 ** 32;
  };
  // not called for the first
  decoder.onmember = (next) => {
    if (!isSound(next)) throw new Error("incorrect data check");
    sum = 0;
    size = 0;
  };
  for await (const chunk of remaining(reader, SMALL_STEP)) {
    given = joined(given.subarray(-SMALL_STEP), chunk);
    end += chunk.length;
    yield* steps.push(decoder, chunk, false);
  }
  yield* steps.push(decoder, new Uint8Array(0), true);
  if (!isSound(end))
    throw new FormatError(CODEC_RULES.gzip, "gzip data: it ends early, or its checksum is wrong");
}
