import { xxh32 } from "../checksums.js";
import { isSkippable } from "../lz4.js";
import { indexOfChain, type Step } from "./chain.js";
import type { Frame, PackedBytes } from "./frame.js";

/*
 * LZ4 frame format 1.6: blocks have their packed lengths before them, and all but a frame's last unpack to the frame's block
 * size. Unless they are linked each unpacks by itself. The checksum is mostly of the whole frame: where that is wrong, no block
 * is proven.
 */

const MAGIC = 0x184d_2204;
const MAGIC_BYTES = Uint8Array.of(0x04, 0x22, 0x4d, 0x18);
const STORED = 0x8000_0000;
const LINKED_OR_DICTIONARY = (flags: number): boolean => (flags & 0x20) === 0 || (flags & 1) !== 0;
const NONE = new Uint8Array(4);

const u32 = (bytes: Uint8Array, at = 0): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);

interface Header {
  readonly flags: number;
  readonly descriptor: number;
  /** Offset of the first block. */
  readonly first: number;
  readonly largest: number;
  /** Bytes of the contents; undefined: it doesn't say. */
  readonly size: number | undefined;
  readonly blockSum: number;
  readonly contentSum: number;
}

/** The frame's header at an offset, which has a checksum of its own. */
async function headerAt(packed: PackedBytes, at: number): Promise<Header | undefined> {
  const head = await packed.at(at, 19);
  if (head.length < 7 || u32(head) !== MAGIC) return undefined;
  const [flags = 0, descriptor = 0] = head.subarray(4);
  const length = (flags & 8) === 0 ? 3 : 11;
  const largest = 2 ** (8 + 2 * ((descriptor >> 4) & 7));
  if (head.length < 4 + length || flags >> 6 !== 1 || largest < 2 ** 16) return undefined;
  if (((xxh32(head.subarray(4, 3 + length)) >> 8) & 0xff) !== head[3 + length]) return undefined;
  const size = (flags & 8) === 0 ? undefined : u32(head, 6) + u32(head, 10) * 2 ** 32;
  return {
    flags,
    descriptor,
    first: at + 4 + length,
    largest,
    size,
    blockSum: (flags & 0x10) === 0 ? 0 : 4,
    contentSum: (flags & 4) === 0 ? 0 : 4,
  };
}

/** What a word before a block leads to. */
function step({ largest, blockSum, contentSum }: Header, word: number, at: number): Step | undefined {
  if (word === 0) return { next: at + 4 + contentSum, isEnd: true };
  const size = word >= STORED ? word - STORED : word;
  return size === 0 || size > largest ? undefined : { next: at + 4 + size + blockSum, isEnd: false };
}

/** Finds the frames of LZ4 data. */
export async function* lz4Frames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  for (let at = 0; at < packed.size; ) {
    const start = at;
    const head = (await packed.at(start, 8)).slice();
    if (head.length === 8 && isSkippable(u32(head))) {
      const next = start + 8 + u32(head, 4);
      if (await isBoundary(packed, next)) {
        at = next;
        continue;
      }
    }
    const header = await headerAt(packed, start);
    const end =
      (header && (await endOf(packed, header))) ?? (await nextFrame(packed, start + 1)) ?? packed.size;
    yield {
      start,
      end,
      ...(header === undefined
        ? {}
        : {
            open: () => packed.stream(start, end),
            ...(LINKED_OR_DICTIONARY(header.flags) ? {} : { parts: () => blocksOf(packed, header, end) }),
          }),
    };
    at = end;
  }
}

async function isBoundary(packed: PackedBytes, at: number): Promise<boolean> {
  if (at === packed.size) return true;
  const head = await packed.at(at, 4);
  return head.length === 4 && (u32(head) === MAGIC || isSkippable(u32(head)));
}

/** Where a frame ends by the lengths of its blocks; undefined where one is damaged. */
async function endOf(packed: PackedBytes, header: Header): Promise<number | undefined> {
  for (let at = header.first; ; ) {
    const word = await packed.at(at, 4);
    const next = word.length < 4 ? undefined : step(header, u32(word), at);
    if (next === undefined || next.next > packed.size) return undefined;
    if (next.isEnd) return (await isBoundary(packed, next.next)) ? next.next : undefined;
    at = next.next;
  }
}

/** The next frame: the checksum of its header and two blocks, or all, prove it. */
function nextFrame(packed: PackedBytes, from: number): Promise<number | undefined> {
  return packed.find([MAGIC_BYTES], from, async (offset) => {
    const header = await headerAt(packed, offset);
    if (header === undefined) return false;
    const first = step(header, u32(await packed.bytes(header.first, 4)), header.first);
    return first !== undefined && first.next <= packed.size;
  });
}

/** The blocks of a frame whose blocks are independent. */
async function* blocksOf(
  packed: PackedBytes,
  header: Header,
  end: number,
): AsyncGenerator<Frame, void, undefined> {
  const { flags, descriptor, largest, blockSum, size: total } = header;
  const shape = [0x60 | (flags & 0x10), descriptor];
  const alone = Uint8Array.from([...MAGIC_BYTES, ...shape, (xxh32(Uint8Array.from(shape)) >> 8) & 0xff]);
  const stepAt = (word: number, at: number): Step | undefined => step(header, word, at);
  let count = 0;
  for (let at = header.first; at < end; ) {
    const start = at;
    const word = await packed.at(start, 4);
    const next = word.length < 4 ? undefined : stepAt(u32(word), start);
    if (next?.isEnd === true && next.next === end) return;
    if (next === undefined || next.isEnd || next.next > end) {
      const found = await indexOfChain(packed, start, end, stepAt);
      yield { start, end: found ?? end };
      at = found ?? end;
      count = Number.NaN;
      continue;
    }
    count += 1;
    const follows = await packed.at(next.next, 4);
    const isLast = follows.length === 4 && u32(follows) === 0;
    const last = total === undefined ? undefined : total - (count - 1) * largest;
    const size = last === undefined || Number.isNaN(last) ? undefined : Math.min(last, largest);
    yield {
      start,
      end: next.next,
      isUsual: !isLast,
      nominal: largest,
      ...(size !== undefined && size > 0 ? { size } : {}),
      isChecked: blockSum > 0,
      open: () => packed.stream(start, next.next, alone, NONE),
    };
    at = next.next;
  }
}
