import { type ByteStream, bytesSource, streamOf } from "../../byte-source.js";
import { yieldToEventLoop } from "../../event-loop.js";
import type { Frame, PackedBytes } from "./frame.js";

/*
 * bzip2: blocks begin at any bit, with a magic number of 48 bits and a checksum, and unpack by themselves: each is shifted into
 * a stream of its own, as bzip2recover does. A block doesn't say how many bytes it unpacks to.
 */

const BLOCK = 0x3141_5926;
const BLOCK_REST = 0x5359;
const END = 0x1772_4538;
const END_REST = 0x5090;
/** Bytes of a stream's header. */
const HEADER = 4;
/** Bits of a magic number and a checksum. */
const HEAD_BITS = 80;
/** Bytes of a block at most, as of the decoder. */
const MOST_PACKED = 2_400_000;
const PIECE = 1 << 20;
/** Blocks and ends of streams: of a hundred GiB. */
const MOST_MARKS = 1 << 20;

interface Mark {
  /** In bits from the start of the data. */
  readonly bit: number;
  readonly isBlock: boolean;
}

/** All magic numbers of blocks and of streams' ends. */
async function marksOf(packed: PackedBytes): Promise<Mark[]> {
  const marks: Mark[] = [];
  for (let start = 0; start < packed.size; start += PIECE) {
    const bytes = await packed.bytes(start, PIECE + 7);
    const last = Math.min(PIECE, bytes.length - 6);
    for (let at = 0; at < last; at += 1) {
      const high =
        ((bytes[at] ?? 0) << 24) |
        ((bytes[at + 1] ?? 0) << 16) |
        ((bytes[at + 2] ?? 0) << 8) |
        (bytes[at + 3] ?? 0);
      const low = ((bytes[at + 4] ?? 0) << 16) | ((bytes[at + 5] ?? 0) << 8) | (bytes[at + 6] ?? 0);
      for (let shift = 0; shift < 8; shift += 1) {
        const word = shift === 0 ? high : (high << shift) | (low >>> (24 - shift));
        if (word !== BLOCK && word !== END) continue;
        const rest = (low >>> (8 - shift)) & 0xffff;
        if (rest === (word === BLOCK ? BLOCK_REST : END_REST))
          marks.push({ bit: (start + at) * 8 + shift, isBlock: word === BLOCK });
      }
    }
    if (marks.length > MOST_MARKS) break;
    await yieldToEventLoop();
  }
  return marks;
}

/** Finds the blocks of bzip2 data. */
export async function* bzip2Frames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  const marks = await marksOf(packed);
  const [first] = marks;
  if (first === undefined) return;
  // before the first block is the stream's header, and no more
  if (first.bit !== HEADER * 8) yield { start: 0, end: Math.ceil(first.bit / 8) };
  for (const [i, { bit, isBlock }] of marks.entries()) {
    if (!isBlock) continue;
    const end = marks[i + 1]?.bit ?? packed.size * 8;
    yield {
      start: Math.floor(bit / 8),
      end: Math.ceil(end / 8),
      givesProven: true,
      open: () => blockStream(packed, bit, end),
    };
  }
}

/** A block as a stream of its own. */
function blockStream(packed: PackedBytes, bit: number, end: number): ByteStream {
  let whole: ByteStream | undefined;
  const make = async (): Promise<ByteStream> => {
    const from = Math.floor(bit / 8);
    const length = Math.min(end - bit, MOST_PACKED * 8);
    const bytes = await packed.bytes(from, Math.ceil(((bit & 7) + length) / 8));
    const bits = new BitWriter(HEADER + Math.ceil((length + HEAD_BITS) / 8));
    for (const byte of [0x42, 0x5a, 0x68, 0x39]) bits.add(byte, 8);
    const bitsAt = (at: number, count: number): number => {
      const byte = at >> 3;
      const word = ((bytes[byte] ?? 0) << 8) | (bytes[byte + 1] ?? 0);
      return (word >> (16 - (at & 7) - count)) & ((1 << count) - 1);
    };
    const start = bit & 7;
    for (let at = 0; at < length; at += 8) {
      const count = Math.min(8, length - at);
      bits.add(bitsAt(start + at, count), count);
    }
    for (const byte of [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]) bits.add(byte, 8);
    // of one block, the stream's checksum is the block's
    for (let at = 48; at < HEAD_BITS; at += 8) bits.add(bitsAt(start + at, 8), 8);
    return streamOf(bytesSource(bits.bytes, packed.source.name));
  };
  return {
    name: packed.source.name,
    read: async (into) => (whole ??= await make()).read(into),
  };
}

/** Bits, the most significant first. */
class BitWriter {
  readonly bytes: Uint8Array;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  /** The low `count` bits of a value, eight at most. */
  add(value: number, count: number): void {
    const byte = this.#at >> 3;
    const word = value << (16 - (this.#at & 7) - count);
    this.bytes[byte] = (this.bytes[byte] ?? 0) | ((word >> 8) & 0xff);
    if ((word & 0xff) !== 0) this.bytes[byte + 1] = word & 0xff;
    this.#at += count;
  }
}
