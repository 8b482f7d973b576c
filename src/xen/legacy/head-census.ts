import { viewOf } from "../../binary/layout.js";
import { type Resumption, Resynchronizer } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { outOfOrder } from "../page-order.js";
import { ChunkWalk, pfnsOf, PROVING, type WalkedTail } from "./chunk-walk.js";
import {
  BATCH_LIMIT,
  CHUNK,
  chunkName,
  hasData,
  P2M_SIZE_LIMIT,
  TSC_INFO,
  TSC_MODE_LIMIT,
  TYPE,
} from "./layout.js";
import { PfnSet } from "./pfn-set.js";

/*
 * What the chunks of a legacy stream show of it without its head: the toolstack's width by the entries of batches, the
 * kind of guest by chunks and pages that only one has, and by the tail; how many pfns there are by those that are named.
 */

/** The first chunks of a stream that prove themselves. */
export interface FirstChunk extends Resumption {
  readonly ulongSize: 4 | 8;
}

/** What the chunks of a stream show. */
export interface LegacyCensus {
  /** Whether only an HVM guest's stream has one of them. */
  readonly isHvm: boolean;
  /** Levels of page tables that pages are of, bit by bit: bit 4 for level 4. */
  readonly levels: number;
  /** The last tail; undefined: none was found. */
  readonly tail: WalkedTail | undefined;
  /** The highest pfn of batches that are in order; -1: none. */
  readonly highest: number;
  /** The highest pfn that is the last of four in a row: no damage of an entry makes one. */
  readonly highestInRow: number;
  /** Number of pfns where all below the highest are either sent or said to be unmapped. */
  readonly p2mSize: number | undefined;
  /** Whether chunks follow one another without damage up to a tail, or to the end of the input. */
  readonly isWhole: boolean;
  /**
   * Whether a pfn may be that of a normal page: one that is sent as such, or that damage may have taken.
   * @param isFirst no chunk may be before the first one
   */
  readonly mayBeNormal: (pfn: number, isFirst: boolean) => boolean;
}

/** How far the first chunk is looked for: a configuration, the list of a large guest's p2m frames, a batch that was hit. */
const FARTHEST = 8 << 20;
/** Entries that show whether a batch may begin, and bytes of them with its count. */
const SHOWN = 16;
const HEAD = 4 + SHOWN * 8;
/** Chunks in a row of which no shorter words of another toolstack can be a part. */
const SURE = 3;
/** Places that look like a first chunk: bounds the time that a hostile input takes. */
const MOST_LIKELY = 1 << 16;
/** Damaged places that are gone over. */
const MOST_PLACES = 1000;
/** pfns that are read at once. */
const PFNS_AT_ONCE = 1 << 16;

/** Chunks of a stream of which nothing but the toolstack's width is known. */
const walkOf = (input: ByteSource, ulongSize: 4 | 8): ChunkWalk =>
  new ChunkWalk(input, {
    first: 0,
    ulongSize,
    isHvm: undefined,
    p2mSize: P2M_SIZE_LIMIT,
    vcpuSize: undefined,
    isReadable: false,
    isStopped: false,
  });

/** Finds the first chunks of an input that may be a legacy stream whose head is damaged; undefined where none prove themselves. */
export async function findFirstChunk(input: ByteSource): Promise<FirstChunk | undefined> {
  let first: FirstChunk | undefined;
  let end = FARTHEST;
  for (const ulongSize of [8, 4] as const) {
    const walk = walkOf(input, ulongSize);
    let likely = 0;
    const finder = new Resynchronizer(input, {
      // a configuration of any length may come before
      step: 1,
      head: HEAD,
      isLikely: (view, at) => likely < MOST_LIKELY && isLikelyFirst(view, at, ulongSize) && ++likely > 0,
      proof: (offset) => walk.firstProof(offset),
    });
    const found = await finder.resume(4, Math.min(input.size, end));
    const isBetter = found !== undefined && (first === undefined || found.proof > first.proof);
    if (isBetter) first = { ...found, ulongSize };
    if (first !== undefined && first.proof >= SURE) end = first.at;
  }
  return first;
}

/** Whether the TSC's state may be at a place, which comes before memory, or a batch of pages that can prove itself. */
function isLikelyFirst(view: DataView, at: number, ulongSize: 4 | 8): boolean {
  const id = view.getInt32(at, true);
  if (id === CHUNK.tscInfo) {
    const next = view.getInt32(at + 4 + TSC_INFO.size, true);
    return (
      view.getUint32(at + 4, true) < TSC_MODE_LIMIT && next <= BATCH_LIMIT && chunkName(next) !== undefined
    );
  }
  if (id < PROVING || id > BATCH_LIMIT) return false;
  // the entries of a batch, read from one of them on: its pfn as the count
  if (view.getUint32(at + 4, true) === id + 1 && view.getUint32(at + 4 + ulongSize, true) === id + 2)
    return false;
  let last = -1;
  for (let i = 0; i < Math.min(id, SHOWN); i += 1) {
    const place = at + 4 + i * ulongSize;
    const entry = view.getUint32(place, true);
    const type = entry >>> 28;
    if (!hasData(type) && type < TYPE.broken) return false;
    if (ulongSize === 8 && view.getUint32(place + 4, true) !== 0) return false;
    if (type === TYPE.invalid) continue;
    if ((entry & 0x0fff_ffff) <= last) return false;
    last = entry & 0x0fff_ffff;
  }
  return true;
}

/** Goes through the chunks of a stream from one that proves itself, over damaged places. */
export async function takeCensus(
  input: ByteSource,
  { at: first, ulongSize }: FirstChunk,
): Promise<LegacyCensus> {
  const walk = walkOf(input, ulongSize);
  const finder = new Resynchronizer(input, {
    step: 4,
    head: 20,
    isLikely: (view, at) => walk.isLikely(view, at),
    proof: (offset) => walk.proof(offset),
  });
  const tally = new Tally();
  let tail: WalkedTail | undefined;
  let [isHvm, isWhole] = [false, true];
  let online: number | undefined;
  for (let at = first, places = 0; at < input.size; ) {
    const chunk = await walk.chunk(at, false, online);
    if (chunk?.kind === "coded") {
      isWhole = false;
      break;
    }
    if (chunk?.kind === "batch") tally.add(chunk.entries);
    if (chunk === undefined || chunk.next > input.size) {
      // the input ends within a batch, or what follows is damaged
      isWhole &&= chunk !== undefined;
      places += 1;
      const found = chunk !== undefined || places > MOST_PLACES ? undefined : await finder.resume(at + 4);
      if (found === undefined) break;
      at = found.at;
    } else if (chunk.kind === "end") {
      tail = chunk.tail;
      if (tail.end === undefined) break;
      at = tail.end;
    } else {
      if (chunk.kind === "state") {
        online = chunk.online ?? online;
        isHvm ||= chunk.isHvm === true;
      }
      at = chunk.next;
    }
  }
  const { highest, highestInRow, levels, normal, others } = tally;
  const p2mSize =
    tail?.guest === "pv" && isWhole ? await countPfns(input, tail, ulongSize, tally) : undefined;
  const mayBeNormal = (pfn: number, isFirst: boolean): boolean =>
    normal.has(pfn) || (!(isWhole && isFirst) && !others.has(pfn));
  return { isHvm, levels, tail, highest, highestInRow, p2mSize, isWhole, mayBeNormal };
}

/** Keeps what the batches of a stream show of its memory. */
class Tally {
  highest = -1;
  highestInRow = -1;
  levels = 0;
  readonly named = new PfnSet();
  /** pfns of pages that were normal ones in some batch, and that were others. */
  readonly normal = new PfnSet();
  readonly others = new PfnSet();

  add(entries: Uint32Array): void {
    const pfns = pfnsOf(entries);
    // small numbers of any memory look like batches of few pages
    if (entries.length < PROVING || outOfOrder(pfns).length > 0) return;
    let [last, row] = [-2, 0];
    for (const entry of entries) {
      const type = entry >>> 28;
      if (type === TYPE.invalid) continue;
      const pfn = entry & 0x0fff_ffff;
      row = pfn === last + 1 ? row + 1 : 1;
      last = pfn;
      this.named.add(pfn);
      (type === TYPE.normal ? this.normal : this.others).add(pfn);
      if (hasData(type) && type !== TYPE.normal) this.levels |= 1 << (type & 7);
      if (row >= PROVING) this.highestInRow = Math.max(this.highestInRow, pfn);
    }
    this.highest = Math.max(this.highest, last);
  }
}

/** How many pfns a PV guest has, where every one of them is sent or in its list of unmapped ones. */
async function countPfns(
  input: ByteSource,
  { pv }: WalkedTail & { guest: "pv" },
  ulongSize: 4 | 8,
  { named, highest }: Tally,
): Promise<number | undefined> {
  if (pv === undefined) return undefined;
  const bytes = new Uint8Array(Math.min(pv.unmapped, PFNS_AT_ONCE) * ulongSize);
  const view = viewOf(bytes);
  let last = highest;
  for (let done = 0; done < pv.unmapped; done += PFNS_AT_ONCE) {
    const part = bytes.subarray(0, Math.min(pv.unmapped - done, PFNS_AT_ONCE) * ulongSize);
    if ((await readBefore(input, pv.unmappedAt + done * ulongSize, part)) < part.length) return undefined;
    for (let at = 0; at < part.length; at += ulongSize) {
      const pfn = view.getUint32(at, true);
      if (pfn >= P2M_SIZE_LIMIT) return undefined;
      last = Math.max(last, pfn);
      named.add(pfn);
    }
  }
  return named.size === last + 1 ? last + 1 : undefined;
}
