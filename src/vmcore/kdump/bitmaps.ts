import { readFully } from "../../io/byte-source.js";
import { patchedSource } from "../../guest/salvage.js";
import { KdumpFile } from "./read.js";
import type { UnknownFrames } from "./memory.js";

/*
 * A descriptor belongs to a page by how many bits of bitmap 2 are set before the page's: one wrong bit would give every page after
 * it another one's contents. The table says how many descriptors there are. Of a dump from which nothing was left out,
 * bitmap 1 is the same as bitmap 2: then one is mended from the other, and the number of bits proves it.
 */

/** Bitmaps larger than this (machines beyond 8 TiB) are not held in memory. */
const MOST_BYTES = 256 << 20;
/** Places at which one bitmap may take over from the other. */
const MOST_BORDERS = 64;
/** Bytes of zeros between bits of damage and bits of memory far from it. */
const APART = 64;

/** A dump whose bitmaps are believed again. */
export interface RepairedBitmaps {
  readonly file: KdumpFile;
  /** Frames that nothing is known of: bitmap 2 denies them in `file`. */
  readonly unknown: readonly UnknownFrames[];
  /** What was done, in a few words. */
  readonly what: string;
}

/** Set bits by value of a byte. */
const BITS = Uint8Array.from({ length: 256 }, (_, value) => value.toString(2).replaceAll("0", "").length);

/** Set bits of frames [first, end). */
export function countBits(bitmap: Uint8Array, first: number, end: number): number {
  let sum = 0;
  for (let at = first >> 3; at < Math.ceil(end / 8); at += 1) {
    let byte = bitmap[at] ?? 0;
    if (at === Math.floor(first / 8)) byte &= 0xff << (first % 8);
    if (at === Math.floor(end / 8)) byte &= (1 << (end % 8)) - 1;
    sum += BITS[byte & 0xff] ?? 0;
  }
  return sum;
}

/**
 * Mends the bitmaps of a dump whose table has `count` descriptors. Where that can't be done, the frames between the first
 * and the last that may be wrong are unknown.
 */
export async function repairBitmaps(file: KdumpFile, count: number): Promise<RepairedBitmaps | undefined> {
  const { bitmapOffset, bitmapSize, firstFrame, endFrame, frames } = file;
  if (bitmapSize * 2 > MOST_BYTES) return undefined;
  const both = new Uint8Array(bitmapSize * 2);
  if ((await readFully(file.source, bitmapOffset, both)) < both.length) return undefined;
  const one = both.subarray(0, bitmapSize);
  const two = both.subarray(bitmapSize);
  const bits = (bitmap: Uint8Array): number => countBits(bitmap, firstFrame, endFrame);
  const finish = async (
    mended: { one: Uint8Array; two: Uint8Array },
    unknown: readonly UnknownFrames[],
    what: string,
  ): Promise<RepairedBitmaps> => {
    const source = patchedSource(file.source, [
      { offset: bitmapOffset, bytes: mended.one },
      { offset: bitmapOffset + bitmapSize, bytes: mended.two },
    ]);
    const repaired = await KdumpFile.read(
      { input: file.input, flattened: file.flattened, source },
      () => undefined,
    );
    return { file: repaired, unknown, what };
  };
  // level 1 leaves zero pages out, which are kept as one: nothing is missing in bitmap 2
  const isSame = file.subHeader.dump_level <= 1;
  const pieces = file.flattened?.isSalvaged === true ? fromRecords(file, one, two, isSame) : undefined;
  if (pieces !== undefined) {
    const { bitmap, unknown } = pieces;
    const known = bits(bitmap);
    if (unknown === undefined && known === count)
      return finish(
        { one: union(one, bitmap), two: bitmap },
        [],
        "bitmaps mended from the records that are left",
      );
    if (unknown !== undefined && known <= count) {
      clear(bitmap, unknown.start, unknown.end);
      const frames = { ...unknown, descriptors: count - bits(bitmap) };
      return finish({ one: union(one, bitmap), two: bitmap }, [frames], "records of both bitmaps are lost");
    }
  }
  const differing = differences(one, two, firstFrame, endFrame);
  if (differing.length === 0) {
    const unknown = { start: firstFrame, end: endFrame, descriptors: count };
    if (bits(two) === count) return undefined;
    return finish({ one, two: new Uint8Array(bitmapSize) }, [unknown], "both bitmaps are damaged alike");
  }
  const possible = [two, one, ...(isSame ? joints(one, two, differing) : [])].filter(
    (bitmap) => bits(bitmap) === count,
  );
  // the last frame is the guest's last page
  const ending = possible.filter((bitmap) => countBits(bitmap, frames - 1, frames) === 1);
  const believed = ending.length > 0 ? ending : possible;
  const [first] = believed;
  if (first !== undefined) {
    // where several have as many bits, what they contradict one another in is not known
    const others = believed.slice(1).flatMap((other) => differences(first, other, firstFrame, endFrame));
    const from = others.reduce((start, other) => Math.min(start, other.start), endFrame);
    const to = others.reduce((end, other) => Math.max(end, other.end), 0);
    const what = first === two ? "bitmap 1 is damaged" : "bitmap 2 is damaged and mended from bitmap 1";
    if (to === 0) return finish({ one: union(one, first), two: first }, [], what);
    const rest = first.slice();
    clear(rest, from, to);
    const unknown = { start: from, end: to, descriptors: countBits(first, from, to) };
    return finish({ one: union(one, first), two: rest }, [unknown], "the bitmaps contradict each other");
  }
  const sure = believableEnd(one, two, { firstFrame, endFrame, isSame });
  if (sure === undefined) return undefined;
  const rest = two.slice();
  clear(rest, firstFrame, sure);
  const descriptors = count - bits(rest);
  if (descriptors < 0) return undefined;
  const unknown = { start: firstFrame, end: sure, descriptors };
  return finish(
    { one: union(one, rest), two: rest },
    [unknown],
    "the end of bitmap 1 and the start of bitmap 2 are damaged",
  );
}

/**
 * The first frame from which on bitmap 2 is believed where damage reaches from bitmap 1 into it: at its end bitmap 1
 * contradicts bitmap 2, and the bits before are apart from those. `isSame`: both bitmaps were the same.
 */
function believableEnd(
  one: Uint8Array,
  two: Uint8Array,
  { firstFrame, endFrame, isSame }: { firstFrame: number; endFrame: number; isSame: boolean },
): number | undefined {
  let last = Math.ceil(endFrame / 8) - 1;
  const start = Math.floor(firstFrame / 8);
  while (last >= start && two[last] === 0) last -= 1;
  let isDenied = false;
  let gap = 0;
  for (let at = last; at >= start; at -= 1) {
    const byte = two[at] ?? 0;
    const other = one[at] ?? 0;
    if ((byte & ~other) !== 0 || (isSame && byte !== other)) isDenied = true;
    gap = byte === 0 ? gap + 1 : 0;
    if (gap >= APART) return isDenied ? (at + gap) * 8 : undefined;
  }
  return undefined;
}

/** Bytes that are looked at together where records of a flattened file may be lost: the smallest block. */
const PIECE = 512;

/** Bitmap 2 as the records of a flattened file have it, or bitmap 1 where that is the same; frames of neither are unknown. */
function fromRecords(
  { flattened, bitmapOffset, bitmapSize, firstFrame, endFrame }: KdumpFile,
  one: Uint8Array,
  two: Uint8Array,
  isSame: boolean,
): { bitmap: Uint8Array; unknown: Frames | undefined } {
  const bitmap = two.slice();
  let unknown: Frames | undefined;
  for (let at = 0; at < bitmapSize; at += PIECE) {
    const [start, end] = [Math.max(firstFrame, at * 8), Math.min(endFrame, (at + PIECE) * 8)];
    if (start >= end || flattened?.covers(bitmapOffset + bitmapSize + at, PIECE) === true) continue;
    if (isSame && flattened?.covers(bitmapOffset + at, PIECE) === true)
      bitmap.set(one.subarray(at, at + PIECE), at);
    else unknown = { start: unknown?.start ?? start, end };
  }
  return { bitmap, unknown };
}

interface Frames {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Runs of bytes in which two bitmaps differ, as frames within [first, end). */
function differences(one: Uint8Array, two: Uint8Array, first: number, end: number): readonly Frames[] {
  const runs: { start: number; end: number }[] = [];
  for (let at = Math.floor(first / 8); at < Math.ceil(end / 8); at += 1) {
    if (one[at] === two[at]) continue;
    const start = Math.max(first, at * 8);
    const stop = Math.min(end, at * 8 + 8);
    const last = runs.at(-1);
    if (last?.end === start) last.end = stop;
    else runs.push({ start, end: stop });
  }
  return runs;
}

/** One bitmap up to a place and the other from there on: damage that reaches from the one into the other. */
function joints(one: Uint8Array, two: Uint8Array, differing: readonly Frames[]): readonly Uint8Array[] {
  const borders = differing
    .slice(1)
    .map((run, i) => ({ at: Math.floor(run.start / 8), gap: run.start - (differing[i]?.end ?? 0) }))
    .sort((a, b) => b.gap - a.gap)
    .slice(0, MOST_BORDERS);
  const join = (head: Uint8Array, tail: Uint8Array, at: number): Uint8Array => {
    const joined = tail.slice();
    joined.set(head.subarray(0, at));
    return joined;
  };
  return borders.flatMap(({ at }) => [join(one, two, at), join(two, one, at)]);
}

function union(one: Uint8Array, two: Uint8Array): Uint8Array {
  return one.map((byte, at) => byte | (two[at] ?? 0));
}

/** Clears the bits of frames [start, end). */
function clear(bitmap: Uint8Array, start: number, end: number): void {
  for (let at = Math.floor(start / 8); at < Math.ceil(end / 8); at += 1) {
    let kept = 0;
    if (at * 8 < start) kept |= (1 << (start % 8)) - 1;
    if (at * 8 + 8 > end) kept |= 0xff << (end % 8);
    bitmap[at] = (bitmap[at] ?? 0) & kept;
  }
}
