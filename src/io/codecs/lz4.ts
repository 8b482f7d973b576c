import { CODEC_RULES } from "../rules.js";
import type { ByteReader } from "../byte-reader.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import { Xxh32, xxh32 } from "./checksums.js";
import { hasBytes } from "./pieces.js";

/** LZ4, after its public block and frame format descriptions (1.6). */

const FRAME_MAGIC = 0x184d_2204;
const LEGACY_MAGIC = 0x184c_2102;
const LEGACY_BLOCK = 8 << 20;
/** How far back a copy can reach, into the block before where blocks are linked. */
const WINDOW = 64 << 10;
const STORED = 0x8000_0000;

const damaged = (message: string): FormatError => new FormatError(CODEC_RULES.lz4, `LZ4 data: ${message}`);
const cut = (message: string, missing: number): TruncatedError =>
  new TruncatedError(CODEC_RULES.lz4, `LZ4 data: ${message}`, missing);

/** Whether a magic number opens a frame to be passed over (LZ4 and zstd share the range). */
export const isSkippable = (magic: number): boolean => magic >= 0x184d_2a50 && magic <= 0x184d_2a5f;

/**
 * Unpacks one LZ4 block into `output` from `start` on; bytes before it are history that copies reach.
 * Returns the end of what it wrote.
 * @param onCut called before the error where the block breaks off, with the end of what was unpacked
 * @throws FormatError `codec/lz4`
 */
export function lz4Block(
  input: Uint8Array,
  output: Uint8Array,
  start: number,
  onCut?: (end: number) => void,
): number {
  let from = 0;
  let to = start;
  const next = (): number => {
    const byte = input[from];
    if (byte === undefined) {
      onCut?.(to);
      throw damaged("a block ends within a sequence");
    }
    from += 1;
    return byte;
  };
  const longer = (nibble: number): number => {
    let length = nibble;
    if (nibble < 15) return length;
    for (let byte = 255; byte === 255; length += byte) byte = next();
    return length;
  };
  while (from < input.length) {
    const token = next();
    const literals = longer(token >> 4);
    if (to + literals > output.length) throw damaged("a block unpacks to more than its size");
    if (from + literals > input.length) {
      output.set(input.subarray(from), to);
      onCut?.(to + input.length - from);
      throw damaged("a block ends within literals");
    }
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === input.length) return to;
    const distance = next() + next() * 256;
    const length = longer(token & 15) + 4;
    if (distance === 0 || distance > to) throw damaged("a copy reaches back before the start");
    if (to + length > output.length) throw damaged("a block unpacks to more than its size");
    for (const end = to + length; to < end; to += 1) output[to] = output[to - distance] ?? 0;
  }
  throw damaged("a block ends without literals");
}

async function u32Of(reader: ByteReader, what: string): Promise<number> {
  if (!(await hasBytes(reader, 4))) throw cut(`it ends within ${what}`, 4 - reader.available);
  const value = reader.view.getUint32(reader.at, true);
  reader.take(4);
  return value;
}

async function block(reader: ByteReader, size: number): Promise<Uint8Array> {
  if (!(await hasBytes(reader, size))) throw cut("it ends within a block", size - reader.available);
  return reader.take(size);
}

/** What the start of a block that breaks off unpacks to, in `output` from `start` on. Returns its end. */
function cutBlock(reader: ByteReader, output: Uint8Array, start: number): number {
  let end = start;
  try {
    lz4Block(reader.peek(reader.available), output, start, (to) => {
      end = to;
    });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
  return end;
}

/** One buffer for all frames of a stream: a tiny one must not cost what its header announces. */
class Output {
  #bytes = new Uint8Array(0);

  /** The first `size` bytes; what is in them is of no meaning. */
  of(size: number): Uint8Array {
    if (this.#bytes.length < size) this.#bytes = new Uint8Array(size);
    return this.#bytes.subarray(0, size);
  }
}

async function* frame(reader: ByteReader, shared: Output): AsyncIterable<Uint8Array> {
  if (!(await hasBytes(reader, 2))) throw cut("it ends within a frame's header", 2 - reader.available);
  const [flags = 0, blocks = 0] = reader.peek(2);
  if (flags >> 6 !== 1) throw damaged("a frame is of an unknown version");
  const linked = (flags & 0x20) === 0;
  const blockSums = (flags & 0x10) !== 0;
  const sized = (flags & 8) !== 0;
  const summed = (flags & 4) !== 0;
  if ((flags & 1) !== 0) throw damaged("a frame needs a dictionary");
  const maxBlock = 2 ** (8 + 2 * ((blocks >> 4) & 7));
  if (maxBlock < 2 ** 16) throw damaged("a frame has an impossible block size");
  const head = await block(reader, sized ? 11 : 3);
  if (((xxh32(head.subarray(0, -1)) >> 8) & 0xff) !== head.at(-1))
    throw damaged("the checksum of a frame's header is wrong");

  const sum = new Xxh32();
  const output = shared.of(WINDOW + maxBlock);
  let history = 0;
  for (;;) {
    const word = await u32Of(reader, "a block's size");
    if (word === 0) break;
    const size = word & ~STORED;
    if (size > maxBlock) throw damaged("a block is larger than its frame allows");
    if (!(await hasBytes(reader, size))) {
      if (word < STORED)
        yield output.subarray(history, cutBlock(reader, output.subarray(0, history + maxBlock), history));
      else yield reader.peek(reader.available);
    }
    const packed = await block(reader, size);
    let end = history + size;
    if (word >= STORED) output.set(packed, history);
    else end = lz4Block(packed, output.subarray(0, history + maxBlock), history);
    const wanted = blockSums ? xxh32(packed) : 0;
    if (blockSums && (await u32Of(reader, "a block's checksum")) !== wanted)
      throw damaged("the checksum of a block is wrong");
    const piece = output.subarray(history, end);
    if (summed) sum.update(piece);
    yield piece;
    if (!linked) continue;
    const kept = Math.min(end, WINDOW);
    output.copyWithin(0, end - kept, end);
    history = kept;
  }
  if (summed && (await u32Of(reader, "the checksum of the contents")) !== sum.digest())
    throw damaged("the checksum of the contents is wrong");
}

/** The old form without checksums: blocks of 8 MiB until the next magic number or the end. */
async function* legacyFrame(reader: ByteReader, shared: Output): AsyncIterable<Uint8Array> {
  const output = shared.of(LEGACY_BLOCK);
  while (await hasBytes(reader, 4)) {
    const size = reader.view.getUint32(reader.at, true);
    if (size === FRAME_MAGIC || size === LEGACY_MAGIC || isSkippable(size)) return;
    if (size > LEGACY_BLOCK + (LEGACY_BLOCK >> 7)) throw damaged("a block is larger than its frame allows");
    reader.take(4);
    if (!(await hasBytes(reader, size))) yield output.subarray(0, cutBlock(reader, output, 0));
    yield output.subarray(0, lz4Block(await block(reader, size), output, 0));
  }
}

/**
 * Unpacks LZ4 frames, one after another.
 * @throws FormatError `codec/lz4`
 */
export async function* unlz4(reader: ByteReader): AsyncIterable<Uint8Array> {
  const shared = new Output();
  do {
    const magic = await u32Of(reader, "a frame's magic number");
    if (magic === FRAME_MAGIC) yield* frame(reader, shared);
    else if (magic === LEGACY_MAGIC) yield* legacyFrame(reader, shared);
    else if (isSkippable(magic)) {
      const size = await u32Of(reader, "a frame's size");
      const skipped = await reader.skip(size);
      if (skipped < size) throw cut("it ends within a frame", size - skipped);
    } else throw damaged("no frame starts here");
  } while (await hasBytes(reader, 1));
}
