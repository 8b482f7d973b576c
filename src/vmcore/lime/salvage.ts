import { viewOf } from "../../binary/layout.js";
import { type DoubtfulPart, type LostPart, Resynchronizer } from "../../guest/salvage.js";
import { indexOfBytes } from "../../io/byte-search.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { RANGE_UNIT, rangeOf } from "../dump-range.js";
import type { MemorySegment } from "../segments.js";
import { LIME_MAGIC, LIME_VERSION, limeHeader } from "./layout.js";

/*
 * A header says how long its range is: where none follows the range, either the header that should be there is damaged or
 * this one. Contents are whole units of memory and headers 32 bytes: the distance to the next header shows which.
 */

/** More than any machine's map or filtered dump has. */
export const MOST_RANGES = 1 << 20;
/** Ranges in a row that are checked after a lost part. */
const PROOF = 3;
const MAGIC = new TextEncoder().encode("EMiL");

/** Ranges that could be read of a damaged dump. */
export interface SalvagedRanges {
  readonly ranges: readonly MemorySegment[];
  readonly lost: readonly LostPart[];
  readonly doubtful: readonly DoubtfulPart[];
}

interface Range {
  readonly first: number;
  /** Exclusive. */
  readonly last: number;
  readonly offset: number;
}

class Walk {
  readonly #input: ByteSource;
  readonly #head = new Uint8Array(limeHeader.size);
  /** Ranges that were gone through up to the input's end: bounds the time that a hostile input takes. */
  #steps = 0;

  constructor(input: ByteSource) {
    this.#input = input;
  }

  /** The range whose header is at an offset. @param lenient its addresses alone count */
  async at(offset: number, lenient = false): Promise<Range | undefined> {
    if ((await readBefore(this.#input, offset, this.#head)) < this.#head.length) return undefined;
    const view = viewOf(this.#head);
    const isMarked = view.getUint32(0, true) === LIME_MAGIC && view.getUint32(4, true) === LIME_VERSION;
    if (!isMarked && !lenient) return undefined;
    const first = view.getBigUint64(limeHeader.offsetOf("s_addr"), true);
    const last = view.getBigUint64(limeHeader.offsetOf("e_addr"), true);
    const range = rangeOf(first, last);
    return range && { first: range.start, last: range.end, offset };
  }

  end({ first, last, offset }: Range): number {
    return offset + limeHeader.size + last - first;
  }

  /** Ranges in a row from an offset on, ascending; 0 unless they reach the input's end or are several. */
  async proof(offset: number, least: number): Promise<number> {
    let count = 0;
    let after = least;
    for (let at = offset; count < PROOF; count += 1) {
      const range = await this.at(at);
      if (range === undefined || range.first < after) return count > 1 ? count : 0;
      after = range.last;
      at = this.end(range);
      // an end of the input inside the range says nothing of it
      if (at >= this.#input.size) return at === this.#input.size || count > 0 ? count + 1 : 0;
    }
    return count;
  }

  /** Ranges from one on up to the input's end; 0 where they aren't all that follows. Of an input that was cut, several. */
  async toEnd(first: Range): Promise<number> {
    let range: Range | undefined = first;
    for (let count = 1; range !== undefined && this.#steps < MOST_RANGES; count += 1) {
      this.#steps += 1;
      const next: number = this.end(range);
      if (next === this.#input.size) return count;
      if (next > this.#input.size) return count > PROOF ? count : 0;
      const before: number = range.last;
      range = await this.at(next);
      if (range !== undefined && range.first < before) return 0;
    }
    return 0;
  }
}

/** Bytes at the start in which a second range is looked for: the first one of a PC ends below 640 KiB. */
const LOOKED_AT = 64 << 20;
const PIECE = 4 << 20;
/** Marks that are tried in them. */
const MOST_TRIED = 1000;

/** Whether an input that doesn't begin as a dump is one: its first header has addresses that fit, or others follow it. */
export async function isDamagedLime(input: ByteSource): Promise<boolean> {
  const walk = new Walk(input);
  const first = await walk.at(0, true);
  if (first !== undefined && (await walk.proof(walk.end(first), first.last)) > 0) return true;
  const piece = new Uint8Array(PIECE);
  let tried = 0;
  for (let start = 0; start < Math.min(LOOKED_AT, input.size); start += PIECE - MAGIC.length + 1) {
    const bytes = piece.subarray(0, await readBefore(input, start, piece));
    for (let at = indexOfBytes(bytes, MAGIC, 0); at >= 0; at = indexOfBytes(bytes, MAGIC, at + 1)) {
      tried += 1;
      if ((await walk.proof(start + at, 0)) > 0) return true;
      if (tried === MOST_TRIED) return false;
    }
  }
  return false;
}

/**
 * Whether an input is a dump whose first header is lost as a whole, and whose first range is longer than what isDamagedLime
 * looks at. Dumps may be part of other files: the ranges must be all that follows, and what precedes them a range's length.
 */
export async function isFarLime(input: ByteSource): Promise<boolean> {
  if (input.size <= LOOKED_AT) return false;
  const walk = new Walk(input);
  const finder = new Resynchronizer(input, {
    step: 1,
    head: 8,
    magic: MAGIC,
    isLikely: (view, at) => view.getUint32(at + 4, true) === LIME_VERSION,
    proof: async (offset) => {
      const isPlace = offset % limeHeader.size === 0;
      const range = isPlace ? await walk.at(offset) : undefined;
      // the lost range's addresses come before
      const isAfter = range !== undefined && range.first >= offset - limeHeader.size;
      return isAfter ? walk.toEnd(range) : 0;
    },
  });
  // a header may begin right before
  return (await finder.resume(LOOKED_AT - limeHeader.size)) !== undefined;
}

/** Reads the ranges of a dump whose headers are damaged: those between lost parts that are proven. */
export async function salvageRanges(input: ByteSource): Promise<SalvagedRanges> {
  const walk = new Walk(input);
  const ranges: MemorySegment[] = [];
  const lost: LostPart[] = [];
  const doubtful: DoubtfulPart[] = [];
  const take = ({ first, last, offset }: Range): void => {
    const start = offset + limeHeader.size;
    const there = Math.max(0, Math.min(last - first, input.size - start));
    ranges.push({ physical: first, offset: start, fileSize: last - first, there, memorySize: last - first });
  };
  /** The last range and where its header is, until what follows it proves its length. */
  let open: Range | undefined;
  let least = 0;
  const finder = new Resynchronizer(input, {
    step: 1,
    head: 8,
    magic: MAGIC,
    isLikely: (view, at) => view.getUint32(at + 4, true) === LIME_VERSION,
    proof: (offset) => walk.proof(offset, least),
  });
  for (let at = 0; ranges.length < MOST_RANGES; ) {
    if (at === input.size) break;
    const range = at > input.size ? undefined : await walk.at(at);
    if (range !== undefined && range.first >= least) {
      if (open !== undefined) take(open);
      open = range;
      least = range.last;
      at = walk.end(range);
      continue;
    }
    // the open range's own header may be wrong: look for the next one in what it claims, too
    const before: number =
      open === undefined ? 0 : (ranges.at(-1)?.physical ?? -1) + (ranges.at(-1)?.memorySize ?? 1);
    const from: number = open === undefined ? at : open.offset + limeHeader.size;
    least = Math.max(0, before);
    const found = await finder.resume(from);
    const next = found?.at ?? input.size;
    const isCut = found === undefined && at > input.size;
    const isOwn = next < at || (next - at) % RANGE_UNIT === 0;
    if (open !== undefined && (isCut || !isOwn)) {
      take(open);
      least = open.last;
      // a header and whole units of memory would be lost where the next header is damaged: these are other bytes
      const contents = next - at - limeHeader.size;
      if (!isCut && (contents === 0 || contents % RANGE_UNIT !== 0))
        doubtful.push({
          start: open.first,
          end: open.last,
          why: "is shifted from where bytes were inserted into its range",
        });
    } else if (open !== undefined) at = open.offset;
    open = undefined;
    if (isCut) break;
    // of the damaged header the addresses may be whole: their distance is then the contents' length
    const repaired = await walk.at(at, true);
    const following = found === undefined ? undefined : await walk.at(found.at);
    if (
      repaired !== undefined &&
      walk.end(repaired) === next &&
      repaired.first >= least &&
      repaired.last <= (following?.first ?? Number.MAX_SAFE_INTEGER)
    ) {
      take(repaired);
      least = repaired.last;
      lost.push({
        start: at,
        end: at + limeHeader.size,
        proof: found?.proof ?? 0,
        what: "a range's header, made anew",
      });
    } else
      lost.push({ start: at, end: next, proof: found?.proof ?? 0, what: "a range whose address is unknown" });
    at = next;
  }
  if (open !== undefined) take(open);
  return { ranges, lost, doubtful };
}
