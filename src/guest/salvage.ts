import { indexOfBytes } from "../io/byte-search.js";
import type { ByteSource, MaybePromise } from "../io/byte-source.js";
import { yieldToEventLoop } from "../io/event-loop.js";
import { type HeadFact, headWarnings } from "./head.js";
import { readIntact } from "../io/lost-bytes.js";
import { findSegment, readSegments } from "./segmented.js";
import { firstAtLeast, firstIndex } from "../binary/search.js";
import { viewOf } from "../binary/layout.js";
import { roundUp } from "../io/alignment.js";

/** A part of an input that is lost to damage: bytes, `end` exclusive. */
export interface LostPart {
  readonly start: number;
  readonly end: number;
  /** How many records in a row prove the place where reading goes on; 0: nothing follows, or nothing proves it. */
  readonly proof: number;
  /** What was there, or why it is lost, in a few words; default: damaged records. */
  readonly what?: string;
  /**
   * Offset of the record right before, where its length alone says what it holds: if bytes were inserted into it, or are
   * missing, what follows them in it is shifted, and the lost part is its end.
   */
  readonly doubtfulFrom?: number;
}

/** What is given although something speaks against it: memory by guest-physical address, or bytes; `end` exclusive. */
export interface DoubtfulPart {
  readonly start: number;
  readonly end: number;
  /** What speaks against it, in a few words. */
  readonly why: string;
}

/** What was lost of an input that is damaged in its middle, and how sure it is that the rest is right. */
export interface Rescue {
  readonly lost: readonly LostPart[];
  readonly doubtful: readonly DoubtfulPart[];
  /** What a damaged head held, as far as the rest shows it. */
  readonly head?: readonly HeadFact[];
  /** Bytes of the input that are given although no checksum proves them: unpacked from damaged data. */
  readonly doubtfulBytes?: readonly DoubtfulPart[];
}

/** What is lost and doubtful in all: `more`, before what is known. */
export function rescueWith(known: Rescue | undefined, more: Partial<Rescue>): Rescue {
  const head = joined(more.head, known?.head);
  const doubtfulBytes = joined(more.doubtfulBytes, known?.doubtfulBytes);
  return {
    lost: joined(more.lost, known?.lost) ?? [],
    doubtful: joined(more.doubtful, known?.doubtful) ?? [],
    ...(head && { head }),
    ...(doubtfulBytes && { doubtfulBytes }),
  };
}

const joined = <T>(
  first: readonly T[] | undefined,
  second: readonly T[] | undefined,
): readonly T[] | undefined => (first && second ? [...first, ...second] : (first ?? second));

/** A guest of whose input more is lost; its first warnings say so. */
export function withMoreLost<
  Guest extends { readonly rescue?: Rescue; readonly warnings: readonly string[] },
>(guest: Guest, more: Pick<Rescue, "lost" | "head">): Guest {
  const warnings = [...rescueWarnings({ ...more, doubtful: [] }), ...guest.warnings];
  return { ...guest, rescue: rescueWith(guest.rescue, more), warnings };
}

/** Bytes that stand in for those of an input. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** An input with its damage bridged, so that a format's ordinary reader goes through it. */
export interface Salvage {
  readonly source: ByteSource;
  readonly lost: readonly LostPart[];
}

/**
 * A source in which some bytes are others: all offsets stay as they are. `patches` are ascending and disjoint.
 * A format bridges damage by putting a record that says "skip this" where the damage begins.
 */
export function patchedSource(source: ByteSource, patches: readonly Patch[]): ByteSource {
  /** The first patch that touches a read. */
  const first = (offset: number, end: number): Patch | undefined => {
    const index = firstIndex(patches.length, (i) => {
      const patch = patches[i];
      return patch !== undefined && patch.offset + patch.bytes.length > offset;
    });
    const patch = patches[index];
    return patch !== undefined && patch.offset < end ? patch : undefined;
  };
  // bytes under a patch may be lost: they are not read
  const readAround = async (offset: number, into: Uint8Array): Promise<number> => {
    for (let done = 0; done < into.length; ) {
      const at = offset + done;
      const patch = first(at, offset + into.length);
      let n: number;
      if (patch !== undefined && patch.offset <= at) {
        const part = patch.bytes.subarray(at - patch.offset).subarray(0, into.length - done);
        into.set(part, done);
        n = part.length;
      } else {
        const rest = into.subarray(done, patch === undefined ? into.length : patch.offset - offset);
        n = await source.read(at, rest);
      }
      if (n === 0) return done;
      done += n;
    }
    return into.length;
  };
  return {
    name: source.name,
    size: source.size,
    read: (offset, into): MaybePromise<number> =>
      first(offset, offset + into.length) === undefined
        ? source.read(offset, into)
        : readAround(offset, into),
  };
}

/** A source without some parts: what follows one comes right after what precedes it. `parts` may be in any order. */
export function withoutParts(source: ByteSource, parts: readonly LostPart[]): ByteSource {
  /** Kept pieces: where each begins in the new source and in the old one. */
  const pieces: { start: number; end: number; from: number }[] = [];
  let at = 0;
  let size = 0;
  const keep = (end: number): void => {
    if (end <= at) return;
    pieces.push({ start: size, end: size + end - at, from: at });
    size += end - at;
  };
  for (const part of parts.toSorted((a, b) => a.start - b.start)) {
    keep(part.start);
    at = Math.max(at, part.end);
  }
  keep(source.size);
  return {
    name: source.name,
    size,
    read: (offset, into) =>
      readSegments(
        (address) => findSegment(pieces, address),
        offset,
        into,
        ({ from }, within, part) => source.read(from + within, part),
      ),
  };
}

/** Where an offset of a source is once some parts are left out of it. `parts` may be in any order. */
export function offsetWithout(parts: readonly LostPart[]): (offset: number) => number {
  const sorted = parts.toSorted((a, b) => a.start - b.start);
  const starts = sorted.map(({ start }) => start);
  /** Bytes left out before each part, and its own end. */
  const sums: number[] = [];
  let sum = 0;
  let last = 0;
  for (const { start, end } of sorted) {
    sums.push(sum);
    sum += Math.max(0, end - Math.max(start, last));
    last = Math.max(last, end);
  }
  return (offset) => {
    const i = firstAtLeast(starts, offset) - 1;
    const part = sorted[i];
    if (part === undefined) return offset;
    const before = sums[i] ?? 0;
    // within a part: where it was
    return offset < part.end ? part.start - before : offset - (sums[i + 1] ?? sum);
  };
}

/** Where an offset of a source that lacks some parts is in the whole one. `parts` may be in any order, and are disjoint. */
export function offsetWithin(parts: readonly LostPart[]): (offset: number) => number {
  const starts: number[] = [];
  const sums: number[] = [0];
  let sum = 0;
  for (const { start, end } of parts.toSorted((a, b) => a.start - b.start)) {
    starts.push(start - sum);
    sums.push((sum += end - start));
  }
  return (offset) => offset + (sums[firstAtLeast(starts, offset + 1)] ?? sum);
}

/** How the records of a format are found again after damage. */
export interface RecordFinder {
  /** Records begin at multiples of so many bytes from where the search begins. */
  readonly step: number;
  /** Bytes that `isLikely` looks at. */
  readonly head: number;
  /** Bytes that every record begins with, where there are any: the search is fast then. */
  readonly magic?: Uint8Array;
  /** Whether a record may begin at `at` of a view, as far as a quick look can tell. */
  isLikely(view: DataView, at: number): boolean;
  /** How many records in a row begin at an offset of the input; 0 where they prove nothing. */
  proof(offset: number): Promise<number>;
}

/** The place where records go on, and how many in a row prove it. */
export interface Resumption {
  readonly at: number;
  readonly proof: number;
}

const BLOCK = 1 << 20;
/** Likely places of one input that turn out to be none: bounds the time that a hostile input takes. */
const MOST_MISSES = 1 << 20;

/** Looks for the places where records go on; one for an input, so that all its searches together are bounded. */
export class Resynchronizer {
  readonly #input: ByteSource;
  readonly #finder: RecordFinder;
  #misses = 0;

  constructor(input: ByteSource, finder: RecordFinder) {
    this.#input = input;
    this.#finder = finder;
  }

  /** The first place from `from` on, and before `end`, at which records in a row begin. */
  async resume(from: number, end = this.#input.size): Promise<Resumption | undefined> {
    const { step, head, magic } = this.#finder;
    const block = new Uint8Array(BLOCK + head);
    const size = BLOCK - (BLOCK % step);
    for (let start = from, jump = size; start < end; start += jump) {
      const { length, next: after } = await readIntact(this.#input, start, block);
      const view = viewOf(block);
      const last = Math.min(length - head, size - 1, end - 1 - start);
      // no record begins in lost bytes
      const isLost = after !== undefined && last < size - 1;
      jump = isLost ? roundUp(after, step) : size;
      for (let at = 0; at <= last; at += step) {
        if (magic !== undefined) {
          const next = indexOfBytes(block, magic, at);
          if (next < 0 || next > last) break;
          at = next - (next % step);
          if (at !== next) continue;
        }
        if (!this.#finder.isLikely(view, at)) continue;
        const proof = await this.#finder.proof(start + at);
        if (proof > 0) return { at: start + at, proof };
        this.#misses += 1;
        if (this.#misses >= MOST_MISSES) return undefined;
      }
      await yieldToEventLoop();
    }
    return undefined;
  }
}

/** A lost part in a sentence: where it is, and how sure it is that records go on after it. */
function describeLost({ start, end, proof, what, doubtfulFrom }: LostPart): string {
  const sure =
    proof === 0
      ? ""
      : `; ${proof === 1 ? "one record proves" : `${proof} records in a row prove`} that reading goes on after them`;
  const lost = `damaged: the bytes 0x${start.toString(16)} to 0x${end.toString(16)} (${end - start}) are lost${sure}`;
  const doubt =
    doubtfulFrom === undefined
      ? ""
      : `; memory in the record before, at 0x${doubtfulFrom.toString(16)}, is doubtful: it would be shifted if bytes are missing there or were inserted`;
  return `${lost}${what === undefined ? "" : ` (${what})`}${doubt}`;
}

/** Lost parts that are described one by one. */
const MOST_DESCRIBED = 20;

/** Warnings that say what was lost, the first few parts one by one. */
export function rescueWarnings({ lost, doubtful, head = [] }: Rescue): string[] {
  const bytes = lost.reduce((sum, { start, end }) => sum + end - start, 0);
  const more = lost.length - MOST_DESCRIBED;
  return [
    ...lost.slice(0, MOST_DESCRIBED).map(describeLost),
    ...(more > 0
      ? [`damaged: ${lost.length} parts of ${bytes} bytes in all are lost; ${more} are not listed`]
      : []),
    ...headWarnings(head),
    ...doubtfulLines(doubtful).map((line) => `doubtful: ${line}`),
  ];
}

/** Ranges of one reason that are described one by one. */
const FEW_RANGES = 4;

/** Doubtful memory in sentences: a few ranges of one reason each by itself, more of them as one. */
export function doubtfulLines(doubtful: readonly DoubtfulPart[]): string[] {
  const byReason = new Map<string, DoubtfulPart[]>();
  for (const part of doubtful) {
    const parts = byReason.get(part.why) ?? [];
    parts.push(part);
    byReason.set(part.why, parts);
  }
  return [...byReason].flatMap(([why, parts]) => {
    const range = (start: number, end: number): string =>
      `memory 0x${start.toString(16)} to 0x${end.toString(16)}`;
    if (parts.length <= FEW_RANGES) return parts.map(({ start, end }) => `${range(start, end)} ${why}`);
    const bytes = parts.reduce((sum, { start, end }) => sum + end - start, 0);
    const within = range(parts[0]?.start ?? 0, parts.at(-1)?.end ?? 0);
    return [`${within}, ${parts.length} ranges of ${bytes} bytes in all, ${why}`];
  });
}
