import { isSkippable } from "../lz4.js";
import { readFully } from "../../byte-source.js";
import type { Frame, PackedBytes } from "./frame.js";

/*
 * Zstandard (RFC 8878): a frame's blocks have their lengths before them, so that its end is found without unpacking;
 * after damage the next frame is found by its magic number. `pzstd` puts the packed length of each frame into a
 * skippable one before it; the seekable format has a table of all lengths at the end.
 */

const MAGIC = 0xfd2f_b528;
const MAGIC_BYTES = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
/** What a skippable frame of pzstd begins with: its magic number and length. */
const PZSTD = Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0);
const PZSTD_SIZE = 12;
const LARGEST_BLOCK = 128 << 10;
/** Blocks in a row, or all of a frame, that prove that one begins where its magic number is. */
const PROOF = 3;
const HAS_CHECKSUM = 4;
const SINGLE_SEGMENT = 0x20;

const little = (bytes: Uint8Array): number => bytes.reduceRight((sum, byte) => sum * 256 + byte, 0);

/** A frame's header (RFC 8878, section 3.1.1.1). */
interface Header {
  readonly bytes: Uint8Array;
  /** Bytes of the contents; undefined: it doesn't say. */
  readonly size: number | undefined;
  readonly hasChecksum: boolean;
}

async function headerAt(packed: PackedBytes, at: number): Promise<Header | undefined> {
  const bytes = (await packed.at(at, 18)).slice();
  if (bytes.length < 6 || little(bytes.subarray(0, 4)) !== MAGIC) return undefined;
  const descriptor = bytes[4] ?? 0;
  if ((descriptor & 8) !== 0) return undefined;
  const isSingle = (descriptor & SINGLE_SEGMENT) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const length = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const sizeAt = 5 + (isSingle ? 0 : 1) + dictionary;
  const size = length === 0 ? undefined : little(bytes.subarray(sizeAt, sizeAt + length));
  return {
    bytes: bytes.subarray(0, sizeAt + length),
    size: size !== undefined && length === 2 ? size + 256 : size,
    hasChecksum: (descriptor & HAS_CHECKSUM) !== 0,
  };
}

/** Blocks from an offset on: how many, where they end, and whether the last is among them. */
async function blocksFrom(
  packed: PackedBytes,
  from: number,
  most = Number.POSITIVE_INFINITY,
): Promise<{ readonly count: number; readonly end: number; readonly isEnded: boolean }> {
  let at = from;
  for (let count = 0; ; ) {
    if (count >= most) return { count, end: at, isEnded: false };
    const head = await packed.at(at, 3);
    const word = little(head);
    const type = (word >> 1) & 3;
    const size = word >>> 3;
    const next = at + 3 + (type === 1 ? 1 : size);
    if (head.length < 3 || type === 3 || size > LARGEST_BLOCK || next > packed.size)
      return { count, end: at, isEnded: false };
    at = next;
    count += 1;
    if ((word & 1) === 1) return { count, end: at, isEnded: true };
  }
}

/** Whether the packed data end at an offset, or a frame seems to begin. */
async function isBoundary(packed: PackedBytes, at: number): Promise<boolean> {
  if (at === packed.size) return true;
  const head = await packed.at(at, 4);
  return head.length === 4 && (little(head) === MAGIC || isSkippable(little(head)));
}

/** Whether a frame begins at an offset, as its header and its first blocks show. */
async function isFrame(packed: PackedBytes, at: number): Promise<boolean> {
  const header = await headerAt(packed, at);
  if (header === undefined) return false;
  const { count, end, isEnded } = await blocksFrom(packed, at + header.bytes.length, PROOF);
  return isEnded ? isBoundary(packed, end + (header.hasChecksum ? 4 : 0)) : count === PROOF;
}

/** Finds the frames of zstd data. */
export async function* zstdFrames(packed: PackedBytes): AsyncGenerator<Frame, void, undefined> {
  const table = await seekTable(packed);
  if (table !== undefined) {
    yield* table;
    return;
  }
  let hasLengths = false;
  for (let at = 0; at < packed.size; ) {
    const head = await packed.at(at, 8);
    const magic = little(head.subarray(0, 4));
    let end: number | undefined;
    let start = at;
    if (head.length === 8 && isSkippable(magic)) {
      const next = at + 8 + little(head.subarray(4));
      const isLength = next === at + PZSTD_SIZE;
      const length = isLength ? little(await packed.at(at + 8, 4)) : 0;
      if (isLength && length > 0 && (await isBoundary(packed, next + length))) {
        end = next + length;
        start = next;
        hasLengths = true;
      } else if (await isBoundary(packed, next)) {
        at = next;
        continue;
      }
    }
    const header = await headerAt(packed, start);
    if (header !== undefined) {
      const frame = await frameAt(packed, start, header, end);
      if (frame !== undefined) {
        yield frame;
        at = frame.end;
        continue;
      }
    }
    // a frame whose end is known by its length before it is exactly one
    if (end === undefined) {
      const patterns = hasLengths ? [MAGIC_BYTES, PZSTD] : [MAGIC_BYTES];
      const next = await packed.find(patterns, at + 1, async (offset) => {
        const first = (await packed.at(offset, 1))[0];
        return first === PZSTD[0] ? isBoundary(packed, offset + PZSTD_SIZE) : isFrame(packed, offset);
      });
      end = next ?? packed.size;
      // of these data, each frame has its length before it: that alone was damaged
      if (hasLengths && end - at === PZSTD_SIZE) {
        yield { start: at, end, size: 0 };
        at = end;
        continue;
      }
      yield await damagedFrame(packed, at, end, header);
      at = end;
      continue;
    }
    yield { ...(await damagedFrame(packed, start, end, header)), isUsual: true };
    at = end;
  }
}

/** The frame at an offset, where its blocks lead to its end. @param stated its end, if that is known otherwise */
async function frameAt(
  packed: PackedBytes,
  start: number,
  { bytes, size, hasChecksum }: Header,
  stated: number | undefined,
): Promise<Frame | undefined> {
  const first = start + bytes.length;
  const blocks = await blocksFrom(packed, first);
  const end = blocks.end + (hasChecksum ? 4 : 0);
  if (!blocks.isEnded || (stated !== undefined && stated !== end) || !(await isBoundary(packed, end)))
    return undefined;
  // damage may be in the length itself: blocks are as many as it needs
  const fits = size !== undefined && Math.ceil(size / LARGEST_BLOCK) === blocks.count;
  const plain = unchecked(bytes);
  return {
    start,
    end,
    ...(fits ? { size } : {}),
    isUsual: stated !== undefined,
    open: () => packed.stream(start, end),
    ...(hasChecksum ? { openUnchecked: () => packed.stream(first, blocks.end, plain) } : {}),
  };
}

/**
 * What is left of a frame up to the next one. Its length is believed when its blocks go on after the damage, up to that
 * one, and between are as many as the length asks for: another frame that is lost, too, would leave other numbers.
 */
async function damagedFrame(
  packed: PackedBytes,
  start: number,
  end: number,
  header: Header | undefined,
): Promise<Frame> {
  if (header === undefined) return { start, end };
  const frame: Frame = { start, end, open: () => packed.stream(start, end) };
  if (header.size === undefined) return frame;
  const before = await blocksFrom(packed, start + header.bytes.length);
  const after = await blocksUpTo(packed, before.end, end - (header.hasChecksum ? 4 : 0));
  if (after === undefined || before.count === 0) return frame;
  const between = Math.ceil(header.size / LARGEST_BLOCK) - before.count - after.count;
  const length = after.start - before.end;
  const fits = length >= between * 3 && length <= between * (LARGEST_BLOCK + 3);
  return fits && between > 0 ? { ...frame, size: header.size } : frame;
}

/** Bytes in which blocks are looked for after damage. */
const MOST_DAMAGE = (1 << 20) + 2 * LARGEST_BLOCK;

/** The first blocks in a row from `from` on of which the last of a frame ends at `end`; undefined: none do. */
async function blocksUpTo(
  packed: PackedBytes,
  from: number,
  end: number,
): Promise<{ readonly start: number; readonly count: number } | undefined> {
  const last = Math.min(from + MOST_DAMAGE, end);
  const bytes = new Uint8Array(Math.max(0, last - from) + 2);
  const n = await readFully(packed.source, from, bytes);
  for (let at = 1; at + 3 <= n; at += 1) {
    const word = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    const [type, size] = [(word >> 1) & 3, word >>> 3];
    if (type === 3 || size > LARGEST_BLOCK || from + at + size > end) continue;
    const chain = await blocksFrom(packed, from + at, MOST_CHAINED);
    if (chain.isEnded && chain.end === end) return { start: from + at, count: chain.count };
  }
  return undefined;
}

/** Blocks of one frame: more are no plausible frame of which the end is sought. */
const MOST_CHAINED = 1 << 16;

/** A frame's header that announces no checksum. */
function unchecked(header: Uint8Array): Uint8Array {
  const plain = header.slice();
  plain[4] = (plain[4] ?? 0) & ~HAS_CHECKSUM;
  return plain;
}

const SEEK_TABLE = 0x184d_2a5e;
const SEEK_MAGIC = 0x8f92_eab1;
const SEEK_FOOTER = 9;
/** Frames that a table lists: a guest of 64 GiB in frames of 64 KiB. */
const MOST_FRAMES = 1 << 20;

/** The frames of the seekable format by the table at its end; undefined where there is none that fits. */
async function seekTable(packed: PackedBytes): Promise<Frame[] | undefined> {
  const footer = await packed.at(packed.size - SEEK_FOOTER, SEEK_FOOTER);
  if (footer.length < SEEK_FOOTER || little(footer.subarray(5)) !== SEEK_MAGIC) return undefined;
  const count = little(footer.subarray(0, 4));
  const entry = ((footer[4] ?? 0) & 0x80) === 0 ? 8 : 12;
  const length = count * entry + SEEK_FOOTER;
  const start = packed.size - length - 8;
  if (count > MOST_FRAMES || start < 0) return undefined;
  const head = await packed.at(start, 8);
  if (little(head.subarray(0, 4)) !== SEEK_TABLE || little(head.subarray(4)) !== length) return undefined;
  const frames: Frame[] = [];
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const bytes = await packed.at(start + 8 + i * entry, 8);
    const from = at;
    const end = from + little(bytes.subarray(0, 4));
    if (end > start) return undefined;
    frames.push({
      start: from,
      end,
      size: little(bytes.subarray(4)),
      open: () => packed.stream(from, end),
    });
    at = end;
  }
  return at === start ? frames : undefined;
}
