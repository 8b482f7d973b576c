import { crc32 } from "../checksums.js";
import type { Frame, PackedBytes } from "./frame.js";
import { roundUp } from "../../alignment.js";

/*
 * The .xz File Format 1.2.0: a stream's blocks unpack by themselves. The index at its end has the packed and unpacked
 * size of each, under a checksum; the footer after it says where the index begins. Where an index is damaged, headers of
 * blocks, which have checksums too, lead from one to the next where they hold sizes, as those of several threads do.
 */

const MAGIC = Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00);
const HEADER = 12;
const FOOTER = 12;
/** Bytes of a block's check by its kind (section 2.1.1.2). */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
/** Bytes of an index: a million blocks. */
const MOST_INDEX = 16 << 20;
const MOST_STREAMS = 1 << 16;

const u32 = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
const padded = (length: number): number => roundUp(length, 4);

/** A number of several bytes (section 1.2) and where the next begins; undefined: it is none. */
function numberAt(
  bytes: Uint8Array,
  at: number,
): { readonly value: number; readonly next: number } | undefined {
  let value = 0;
  for (let i = 0; i < 8; i += 1) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? { value, next: at + i + 1 } : undefined;
  }
  return undefined;
}

function numberBytes(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function withSum(bytes: readonly number[]): number[] {
  const sum = crc32(Uint8Array.from(bytes));
  return [...bytes, sum & 0xff, (sum >>> 8) & 0xff, (sum >>> 16) & 0xff, sum >>> 24];
}

/** A block of a stream. */
interface Block {
  readonly start: number;
  /** Bytes without padding, with the check. */
  readonly unpadded: number;
  readonly size: number;
  /** Kind of the check. */
  readonly check: number;
}

/** A block as a stream of its own, which is what a decoder takes. */
function frameOf(packed: PackedBytes, { start, unpadded, size, check }: Block): Frame {
  const end = start + padded(unpadded);
  const checkSize = CHECK_SIZES[check] ?? 0;
  const around = (kind: number, length: number): [Uint8Array, Uint8Array] => {
    const flags = [0, kind];
    const records = [0, 1, ...numberBytes(length), ...numberBytes(size)];
    while (records.length % 4 !== 0) records.push(0);
    const index = withSum(records);
    const backward = index.length / 4 - 1;
    const tail = [backward & 0xff, backward >> 8, 0, 0, ...flags];
    const footer = [...withSum(tail).slice(-4), ...tail, 0x59, 0x5a];
    const header = [...MAGIC, ...flags, ...withSum(flags).slice(-4)];
    return [Uint8Array.from(header), Uint8Array.from([...index, ...footer])];
  };
  return {
    start,
    end,
    size,
    open: () => packed.stream(start, end, ...around(check, unpadded)),
    ...(checkSize === 0
      ? {}
      : { openUnchecked: () => packed.stream(start, end - checkSize, ...around(0, unpadded - checkSize)) }),
  };
}

/** Finds the blocks of xz streams. */
export async function* xzFrames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  const blocks = await indexed(packed);
  if (blocks === undefined) yield* walked(packed);
  else for (const block of blocks) yield frameOf(packed, block);
}

/** All blocks by the indexes of their streams, from the end of the data on; undefined where one is damaged. */
async function indexed(packed: PackedBytes): Promise<Block[] | undefined> {
  const streams: Block[][] = [];
  for (let end = packed.size; end > 0; ) {
    const footer = (await packed.at(end - FOOTER, FOOTER)).slice();
    if (footer.length < FOOTER || end % 4 !== 0) return undefined;
    // streams may be padded with zeros
    if (footer.subarray(8).every((byte) => byte === 0)) {
      end -= 4;
      continue;
    }
    const isFooter =
      footer[10] === 0x59 && footer[11] === 0x5a && u32(footer, 0) === crc32(footer.subarray(4, 10));
    const size = (u32(footer, 4) + 1) * 4;
    const from = end - FOOTER - size;
    if (!isFooter || size > MOST_INDEX || from < HEADER || streams.length === MOST_STREAMS) return undefined;
    const blocks = readIndex(await packed.bytes(from, size), (footer[9] ?? 0) & 15);
    if (blocks === undefined) return undefined;
    const length = blocks.reduce((sum, { unpadded }) => sum + padded(unpadded), 0);
    const start = from - length - HEADER;
    if (start < 0) return undefined;
    let at = start + HEADER;
    streams.push(
      blocks.map((block) => {
        const placed = { ...block, start: at };
        at += padded(block.unpadded);
        return placed;
      }),
    );
    end = start;
  }
  return streams.toReversed().flat();
}

/** What an index lists (section 4), in order; undefined where it is damaged. */
function readIndex(bytes: Uint8Array, check: number): Block[] | undefined {
  const size = bytes.length - 4;
  if (size < 4 || bytes[0] !== 0 || u32(bytes, size) !== crc32(bytes.subarray(0, size))) return undefined;
  const count = numberAt(bytes, 1);
  if (count === undefined || count.value > size) return undefined;
  const blocks: Block[] = [];
  let at = count.next;
  for (let i = 0; i < count.value; i += 1) {
    const unpadded = numberAt(bytes, at);
    const unpacked = unpadded && numberAt(bytes, unpadded.next);
    if (unpadded === undefined || unpacked === undefined || unpacked.next > size) return undefined;
    blocks.push({ start: 0, unpadded: unpadded.value, size: unpacked.value, check });
    at = unpacked.next;
  }
  return blocks;
}

/** Blocks by their own headers. */
async function* walked(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  let check: number | undefined;
  for (let at = 0; at < packed.size; ) {
    const head = (await packed.at(at, 1024)).slice();
    const stream = streamCheck(head);
    if (stream !== undefined) {
      check = stream;
      const first = blockHeader(head.subarray(HEADER));
      if (first?.isSized === true) {
        at += HEADER;
        continue;
      }
      // a block that doesn't say how long it is: the stream is one
      const [start, end] = [at, (await nextStream(packed, at + 1)) ?? packed.size];
      yield { start, end, open: () => packed.stream(start, end) };
      at = end;
      continue;
    }
    const block = check === undefined ? undefined : blockHeader(head);
    if (block?.isSized === true && check !== undefined) {
      const unpadded = block.length + block.packed + (CHECK_SIZES[check] ?? 0);
      const frame = frameOf(packed, { start: at, unpadded, size: block.size, check });
      yield frame;
      at = frame.end;
      continue;
    }
    // an index, padding, or damage
    const next = (await nextHeader(packed, at + 1, check !== undefined)) ?? packed.size;
    yield head[0] === 0 ? { start: at, end: next, size: 0 } : { start: at, end: next };
    at = next;
  }
}

/** The kind of check of a stream whose header is here (section 2.1.1); undefined: it is none. */
function streamCheck(head: Uint8Array): number | undefined {
  if (head.length < HEADER || MAGIC.some((byte, i) => head[i] !== byte)) return undefined;
  return u32(head, 8) === crc32(head.subarray(6, 8)) ? (head[7] ?? 0) & 15 : undefined;
}

interface BlockHeader {
  readonly length: number;
  readonly isSized: boolean;
  readonly packed: number;
  readonly size: number;
}

/** A block's header (section 3.1); undefined: it is none. */
function blockHeader(head: Uint8Array): BlockHeader | undefined {
  const length = ((head[0] ?? 0) + 1) * 4;
  const flags = head[1] ?? 0;
  if (head[0] === 0 || head.length < length || (flags & 0x3c) !== 0) return undefined;
  if (u32(head, length - 4) !== crc32(head.subarray(0, length - 4))) return undefined;
  if ((flags & 0xc0) !== 0xc0) return { length, isSized: false, packed: 0, size: 0 };
  const packed = numberAt(head, 2);
  const size = packed && numberAt(head, packed.next);
  return packed === undefined || size === undefined
    ? undefined
    : { length, isSized: true, packed: packed.value, size: size.value };
}

async function nextStream(packed: PackedBytes, from: number): Promise<number | undefined> {
  return packed.find([MAGIC], from, async (at) => streamCheck(await packed.at(at, HEADER)) !== undefined);
}

/** LZMA2 and its dictionary's size are what follows the sizes in the header of every block that is read. */
const LZMA2 = Uint8Array.of(0x21, 0x01);

/** The next header of a stream or a block. */
async function nextHeader(
  packed: PackedBytes,
  from: number,
  withBlocks: boolean,
): Promise<number | undefined> {
  const stream = await nextStream(packed, from);
  if (!withBlocks) return stream;
  let found: number | undefined;
  await packed.find([LZMA2], from, async (at) => {
    if (stream !== undefined && at > stream) return true;
    // sizes take two to eighteen bytes before it
    for (let start = Math.max(from, at - 20); start <= at - 4; start += 1) {
      if (start % 4 !== 0 || blockHeader((await packed.at(start, 1024)).slice())?.isSized !== true) continue;
      found = start;
      return true;
    }
    return false;
  });
  return found ?? stream;
}
