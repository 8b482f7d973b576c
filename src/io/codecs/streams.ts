import { CODEC_RULES } from "../rules.js";
import { ByteReader } from "../byte-reader.js";
import type { ByteStream } from "../byte-source.js";
import { FormatError, GuestscopeError } from "../../findings/errors.js";
import type { CompressionName } from "./compressions.js";
import { crc32 } from "./checksums.js";
import { remaining, streamOfPieces } from "./pieces.js";

/** Unpacks what a reader holds into pieces, each valid until the next is asked for. */
export type Unpacker = (reader: ByteReader) => AsyncIterable<Uint8Array>;

/** Bytes of input handed to a decoder that gives back all of their output at once: bounds that output. */
const SMALL_STEP = 4096;
const LARGE_STEP = 64 << 10;
/** CRC-32 and length at the end of a gzip member. */
const TRAILER = 8;

/** Each loaded when it is first used. */
const unpackers: Record<CompressionName, Unpacker> = {
  gzip: gunzip,
  xz: unxz,
  zstd: loaded(async () => (await import("./zstd-frames.js")).unzstd),
  lz4: loaded(async () => (await import("./lz4.js")).unlz4),
  bzip2: loaded(async () => (await import("./bzip2.js")).bunzip2),
  zlib: loaded(async () => (await import("./zlib-stream.js")).unzlib),
  lzop: loaded(async () => (await import("./lzop.js")).unlzop),
};

function loaded(load: () => Promise<Unpacker>): Unpacker {
  return async function* unpack(reader) {
    yield* (await load())(reader);
  };
}

/** Puts another implementation in place, such as a platform's own. */
export function installUnpacker(name: CompressionName, unpacker: Unpacker): void {
  unpackers[name] = unpacker;
}

/**
 * Unpacks a stream as it is read; memory stays bounded by the format's window.
 * Reading throws FormatError `codec/<name>` when the input is damaged or ends early.
 */
export function decompressStream(name: CompressionName, stream: ByteStream): ByteStream {
  const reader = new ByteReader(stream);
  return streamOfPieces(stream.name, located(name, reader));
}

/** Adds the place to errors, and turns what foreign decoders throw into errors of this project. */
async function* located(name: CompressionName, reader: ByteReader): AsyncIterable<Uint8Array> {
  try {
    yield* unpackers[name](reader);
  } catch (error) {
    const place = { source: reader.name, offset: reader.position };
    if (error instanceof FormatError && error.place.source === undefined)
      throw new FormatError(error.rule, error.message, place);
    if (error instanceof GuestscopeError) throw error;
    throw new FormatError(CODEC_RULES[name], `${name} data: ${(error as Error).message}`, place);
  }
}

/** Checks the sum and length of the last (as a rule the only) member, which the decoder passes over. */
async function* gunzip(reader: ByteReader): AsyncIterable<Uint8Array> {
  const { Gunzip } = await import("fflate");
  let pieces: Uint8Array[] = [];
  let trailer = new Uint8Array(0);
  let sum = 0;
  let size = 0;
  const decoder = new Gunzip((piece) => {
    pieces.push(piece);
    sum = crc32(piece, sum);
    size += piece.length;
  });
  decoder.onmember = () => {
    sum = 0;
    size = 0;
  };
  for await (const chunk of remaining(reader, SMALL_STEP)) {
    trailer = Uint8Array.from([...trailer, ...chunk.subarray(-TRAILER)].slice(-TRAILER));
    decoder.push(chunk, false);
    yield* pieces;
    pieces = [];
  }
  decoder.push(new Uint8Array(0), true);
  yield* pieces;
  const view = new DataView(trailer.buffer);
  if (
    trailer.length < TRAILER ||
    view.getUint32(0, true) !== sum ||
    view.getUint32(4, true) !== size % 2 ** 32
  )
    throw new FormatError(CODEC_RULES.gzip, "gzip data: it ends early, or its checksum is wrong");
}

async function* unxz(reader: ByteReader): AsyncIterable<Uint8Array> {
  const { XzReadableStream } = (await import("xz-decompress")).default;
  const input = remaining(reader, LARGE_STEP)[Symbol.asyncIterator]();
  const packed = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await input.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
  });
  const output = new XzReadableStream(packed).getReader();
  for (;;) {
    const next = await output.read();
    if (next.done) return;
    yield next.value;
  }
}
