import { CODEC_RULES } from "../rules.js";
import type { ByteReader } from "../byte-reader.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import { isSkippable } from "./lz4.js";
import { hasBytes, type Unpacker } from "./pieces.js";

/** Zstandard frames (RFC 8878), taken apart so that a decoder is given one block at a time. */

const MAGIC = 0xfd2f_b528;
/** What `zstd --long` needs at most without being told twice: 2^27. */
const MAX_WINDOW = 2 ** 27;

const damaged = (message: string): FormatError => new FormatError(CODEC_RULES.zstd, `zstd data: ${message}`);

/** Makes sure that so many bytes are there. @throws TruncatedError */
async function need(reader: ByteReader, size: number): Promise<void> {
  if (await hasBytes(reader, size)) return;
  throw new TruncatedError(CODEC_RULES.zstd, "zstd data: it ends within a frame", size - reader.available);
}

async function take(reader: ByteReader, size: number): Promise<Uint8Array> {
  await need(reader, size);
  return reader.take(size);
}

/** Bytes of a frame's header after the magic number; checks what memory it asks for. */
function headerSize(reader: ByteReader): number {
  const [descriptor = 0, window = 0] = reader.peek(6).subarray(4);
  const single = (descriptor & 0x20) !== 0;
  if ((descriptor & 8) !== 0) throw damaged("a frame's header has a reserved bit set");
  const base = 2 ** (10 + (window >> 3));
  if (!single && base + (base / 8) * (window & 7) > MAX_WINDOW)
    throw damaged("a frame wants a window beyond 128 MiB");
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contents = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  return 1 + (single ? 0 : 1) + dictionary + contents;
}

/** Bytes that a block unpacks to at most. */
const LARGEST_BLOCK = 128 << 10;
/** Of a frame, so many bytes and blocks are looked at before its decoder gets the window that it asks for. */
const MOST_AHEAD = 1 << 20;
const MOST_BLOCKS = MAX_WINDOW / LARGEST_BLOCK;
const SINGLE_SEGMENT = 0x20;
const HAS_CHECKSUM = 4;

/** A frame's header, then its blocks one by one, the last with the frame's checksum. */
async function* frameParts(reader: ByteReader): AsyncGenerator<Uint8Array, void, undefined> {
  await need(reader, 6);
  const header = (await take(reader, 4 + headerSize(reader))).slice();
  const announced = contentsSize(header);
  if (announced !== undefined && announced > MAX_WINDOW)
    throw damaged("a frame wants a window beyond 128 MiB");
  const blocks = blockParts(reader, ((header[4] ?? 0) & HAS_CHECKSUM) !== 0);
  const ahead: Uint8Array[] = [];
  let bytes = 0;
  let isWhole = false;
  let failure: unknown;
  try {
    while (!isWhole && bytes < MOST_AHEAD && ahead.length < MOST_BLOCKS) {
      const next = await blocks.next();
      if (next.done === true) isWhole = true;
      else ahead.push(next.value);
      bytes += next.value?.length ?? 0;
    }
  } catch (error) {
    // what came before is decoded first
    failure = error;
  }
  const most = ahead.length * LARGEST_BLOCK;
  if (isWhole && announced !== undefined && announced > most)
    throw damaged(`a frame of ${announced} bytes has blocks for ${most} at most`);
  yield isWhole || failure !== undefined ? withWindow(header, most) : header;
  yield* ahead;
  if (failure !== undefined) throw failure;
  if (!isWhole) yield* blocks;
}

/** Bytes that a frame's decoder keeps, by its header. */
function windowOf(header: Uint8Array): number {
  const window = header[5] ?? 0;
  const base = 2 ** (10 + (window >> 3));
  return contentsSize(header) ?? base + (base / 8) * (window & 7);
}

/** Bytes of the contents of a frame that has them in one segment, which then is the window. */
function contentsSize(header: Uint8Array): number | undefined {
  const descriptor = header[4] ?? 0;
  if ((descriptor & SINGLE_SEGMENT) === 0) return undefined;
  const length = [1, 2, 4, 8][descriptor >> 6] ?? 1;
  const size = header.subarray(-length).reduceRight((sum, byte) => sum * 256 + byte, 0);
  return length === 2 ? size + 256 : size;
}

/** The header with a window for `most` bytes of contents, if it asks for a larger one. */
function withWindow(header: Uint8Array, most: number): Uint8Array {
  const exponent = Math.max(7, Math.ceil(Math.log2(Math.max(1, most))) - 10);
  const descriptor = header[4] ?? 0;
  const announced = contentsSize(header);
  if (announced === undefined) {
    if ((header[5] ?? 0) >> 3 <= exponent) return header;
    const smaller = header.slice();
    smaller[5] = exponent << 3;
    return smaller;
  }
  if (announced <= 2 ** (10 + exponent)) return header;
  // its contents break off: a header with a window, and without their size
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  return Uint8Array.from([
    ...header.subarray(0, 4),
    descriptor & (HAS_CHECKSUM | 3),
    exponent << 3,
    ...header.subarray(5, 5 + dictionary),
  ]);
}

async function* blockParts(
  reader: ByteReader,
  hasChecksum: boolean,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let last = false; !last; ) {
    await need(reader, 3);
    const head = reader.peek(3).reduceRight((sum, byte) => sum * 256 + byte, 0);
    last = (head & 1) === 1;
    const type = (head >> 1) & 3;
    const size = head >>> 3;
    if (type === 3 || size > LARGEST_BLOCK) throw damaged("a block's header is impossible");
    const checksum = last && hasChecksum ? 4 : 0;
    yield (await take(reader, 3 + (type === 1 ? 1 : size) + checksum)).slice();
  }
}

/** A frame in parts: its header, then a block at a time. Asking for a part that isn't there throws. */
export type Parts = AsyncGenerator<Uint8Array, void, undefined>;

/** WebAssembly keeps the memory of streams that are not read to their end: after so many bytes of it, it is used no more. */
const MOST_LEAKED = 256 << 20;
/** Of a decoder beside its window. */
const DECODER = 1 << 20;
let leaked = 0;

/** Decodes in WebAssembly, which is fast whatever the window is. */
async function* decode(parts: Parts): AsyncIterable<Uint8Array> {
  const { ZSTDDecoder } = await import("zstddec/stream");
  const decoder = new ZSTDDecoder();
  await decoder.init();
  const queue: Uint8Array[] = [];
  let taken = 0;
  let window = 0;
  const output = decoder.decodeStreaming({
    *[Symbol.iterator]() {
      for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
        taken += 1;
        yield part;
      }
    },
  });
  let whole = false;
  let failure: unknown;
  try {
    for (let idle = 0; ; ) {
      // one step takes a part at most, and ends the stream when there is none
      if (queue.length === 0 && failure === undefined) {
        try {
          const next = await parts.next();
          if (next.done !== true) {
            if (taken === 0) window = windowOf(next.value);
            queue.push(next.value);
          }
        } catch (error) {
          // what came before is decoded first
          failure = error;
        }
      }
      const before = taken;
      const step = nextOf(output, failure);
      if (step.done === true) break;
      // the decoder is silent about errors, and stops
      idle = step.value.length > 0 || taken > before ? 0 : idle + 1;
      if (idle > 1) throw damaged("a block or a checksum is wrong");
      if (step.value.length > 0) yield step.value;
    }
    whole = true;
  } finally {
    if (!whole) leaked += window + DECODER;
  }
  if (failure !== undefined) throw failure;
}

/** The decoder's next step; that its input broke off is no news where `failure` did it. */
function nextOf(output: Iterator<Uint8Array>, failure: unknown): IteratorResult<Uint8Array> {
  try {
    return output.next();
  } catch (error) {
    if (failure === undefined) throw error;
    return { done: true, value: undefined };
  }
}

/** Decodes in plain JavaScript; checksums of contents are passed over, and a large window is slow. */
async function* decodeSlowly(parts: Parts): AsyncIterable<Uint8Array> {
  const { Decompress } = await import("fzstd");
  let pieces: Uint8Array[] = [];
  const decoder = new Decompress((piece) => pieces.push(piece));
  let failure: unknown;
  for (let part = await parts.next(); part.done !== true; ) {
    const next = await parts.next().catch((error: unknown) => {
      failure = error;
      return { done: false, value: new Uint8Array(0) } as const;
    });
    try {
      decoder.push(part.value, next.done === true);
    } catch (error) {
      failure = damaged((error as Error).message);
    }
    yield* pieces;
    pieces = [];
    if (failure !== undefined) throw failure;
    part = next;
  }
}

/** An unpacker of zstd frames, each decoded by `decodeFrame`. It throws FormatError `codec/zstd`. */
export function unzstdWith(decodeFrame: (parts: Parts) => AsyncIterable<Uint8Array>): Unpacker {
  return async function* unpack(reader) {
    do {
      await need(reader, 4);
      const magic = reader.view.getUint32(reader.at, true);
      if (magic === MAGIC) yield* decodeFrame(frameParts(reader));
      else if (isSkippable(magic)) {
        await take(reader, 4);
        const size = (await take(reader, 4)).reduceRight((sum, byte) => sum * 256 + byte, 0);
        const skipped = await reader.skip(size);
        if (skipped < size)
          throw new TruncatedError(CODEC_RULES.zstd, "zstd data: it ends within a frame", size - skipped);
      } else throw damaged("no frame starts here");
    } while (await hasBytes(reader, 1));
  };
}

/**
 * Unpacks zstd frames.
 * @throws FormatError `codec/zstd`
 */
export const unzstd: Unpacker = unzstdWith((parts) => (leaked > MOST_LEAKED ? decodeSlowly : decode)(parts));
