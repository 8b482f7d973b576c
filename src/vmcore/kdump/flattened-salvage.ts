import { viewOf } from "../../binary/layout.js";
import { type LostPart, Resynchronizer } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { FLATTENED_END, FLATTENED_HEADER_SIZE, flattenedRecord } from "./layout.js";

/*
 * Records of the flattened form follow one another, and together they are a plain file without gaps. Where a record's head
 * can't be one the next that several follow is looked for; a record that was written to the wrong place leaves a gap of its
 * own size where it belongs.
 */

const SIZE = flattenedRecord.size;
/** Records in a row that prove where they go on. */
const PROOF = 3;
/** Writers flush a few MiB at most. */
const MOST_BYTES = 64 << 20;

const RECORDS = "records of the flattened form";

/** A run of bytes of the plain file. */
export interface FlattenedRun {
  readonly to: number;
  readonly size: number;
  /** Offset in the flattened file. */
  readonly from: number;
}

/** The records that are left of a damaged flattened file. */
export interface SalvagedRecords {
  readonly records: readonly FlattenedRun[];
  readonly lost: readonly LostPart[];
  /** Bytes of the plain file whose record may have got some that aren't its own: what follows them is shifted then. */
  readonly shifted: readonly { readonly start: number; readonly end: number }[];
  /** Whether the end marker was there. */
  readonly complete: boolean;
  /** Offset after the last record or the end marker. */
  readonly end: number;
}

type Head = FlattenedRun | "end" | undefined;

class Walk {
  readonly #source: ByteSource;
  readonly #head = new Uint8Array(SIZE);
  readonly #limit: number;

  constructor(source: ByteSource) {
    this.#source = source;
    // the plain file has no more bytes than the records, but for blocks of zeros that were left out
    this.#limit = source.size * 4 + 2 ** 32;
  }

  /** The record whose head is at an offset; undefined: none can be. */
  async at(offset: number): Promise<Head> {
    if ((await readBefore(this.#source, offset, this.#head)) < SIZE) return undefined;
    const view = viewOf(this.#head);
    const [to, size] = [view.getBigUint64(0, false), view.getBigUint64(8, false)];
    if (to === FLATTENED_END && size === FLATTENED_END) return "end";
    if (size === 0n || size > BigInt(MOST_BYTES) || to + size > BigInt(this.#limit)) return undefined;
    const run = { to: Number(to), size: Number(size), from: offset + SIZE };
    return run.from + run.size <= this.#source.size ? run : undefined;
  }

  /** What the file has of a record that it ends within. */
  async cut(offset: number): Promise<FlattenedRun | undefined> {
    if ((await readBefore(this.#source, offset, this.#head)) < SIZE) return undefined;
    const view = viewOf(this.#head);
    const [to, size] = [view.getBigUint64(0, false), view.getBigUint64(8, false)];
    const there = this.#source.size - offset - SIZE;
    if (size <= BigInt(there) || size > BigInt(MOST_BYTES) || to + size > BigInt(this.#limit))
      return undefined;
    return there === 0 ? undefined : { to: Number(to), size: there, from: offset + SIZE };
  }

  /** Records in a row from an offset on; the end of the file or its marker counts as many. */
  async proof(offset: number): Promise<number> {
    const seen: FlattenedRun[] = [];
    for (let at = offset; seen.length < PROOF; ) {
      const head = await this.at(at);
      if (head === "end") return at + SIZE === this.#source.size ? seen.length + PROOF : 0;
      if (head === undefined) return 0;
      // descriptors of zlib pages look like heads that all lead to 4 GiB
      if (seen.some(({ to, size }) => head.to < to + size && to < head.to + head.size)) return 0;
      seen.push(head);
      at = head.from + head.size;
    }
    return seen.length;
  }
}

/** Reads the records of a damaged flattened file: those between lost parts that are proven. */
export async function salvageRecords(source: ByteSource): Promise<SalvagedRecords> {
  const walk = new Walk(source);
  const records: FlattenedRun[] = [];
  const lost: LostPart[] = [];
  const shifted: { start: number; end: number }[] = [];
  const finder = new Resynchronizer(source, {
    step: 1,
    head: SIZE,
    isLikely: (view, at) => {
      const size = view.getUint32(at + 12, false);
      return (
        view.getUint32(at + 8, false) === 0 &&
        size > 0 &&
        size <= MOST_BYTES &&
        view.getUint16(at, false) === 0
      );
    },
    proof: (offset) => walk.proof(offset),
  });
  let complete = false;
  let at = FLATTENED_HEADER_SIZE;
  while (at < source.size) {
    const head = await walk.at(at);
    if (head === "end") {
      // damage of ones looks like the marker
      const more = at + SIZE < source.size ? await finder.resume(at + 1) : undefined;
      if (more === undefined) {
        complete = true;
        at += SIZE;
        break;
      }
      lost.push({ start: at, end: more.at, proof: more.proof, what: RECORDS });
      at = more.at;
      continue;
    }
    const next = head === undefined ? undefined : head.from + head.size;
    const follows = next === undefined ? undefined : await walk.at(next);
    if (head !== undefined && next !== undefined && (follows !== undefined || next === source.size)) {
      records.push(head);
      at = next;
      continue;
    }
    // this head is wrong, or what should be one after its contents
    const found = await finder.resume(at + 1);
    const cut = found === undefined && head === undefined ? await walk.cut(at) : undefined;
    if (cut !== undefined) {
      records.push(cut);
      at = source.size;
      break;
    }
    const resumed = found?.at ?? source.size;
    const isOwn = head !== undefined && next !== undefined && resumed >= next;
    if (head !== undefined && isOwn) records.push(head);
    const start = isOwn && next !== undefined ? next : at;
    const part: LostPart = { start, end: resumed, proof: found?.proof ?? 0, what: RECORDS };
    const after = found === undefined ? undefined : await walk.at(found.at);
    const isDoubtful = isOwn && head !== undefined && !areRecords(head, after, resumed - start);
    if (isDoubtful) shifted.push({ start: head.to, end: head.to + head.size });
    lost.push(isDoubtful ? { ...part, doubtfulFrom: at } : part);
    at = resumed;
  }
  return { records: placed(records), lost, shifted, complete, end: at };
}

/** Whether bytes between two records are as many as records of what lies between them in the plain file have. */
function areRecords({ to, size }: FlattenedRun, after: Head, lost: number): boolean {
  // up to the end of the file, anything may have been there
  if (after === undefined || after === "end") return after === undefined;
  const heads = lost - (after.to - to - size);
  return heads > 0 && heads < lost && heads % SIZE === 0;
}

/** Records with those that were written to the wrong place put where there is a gap of their size, or left out. */
function placed(records: readonly FlattenedRun[]): readonly FlattenedRun[] {
  const sorted = records.toSorted((a, b) => a.to - b.to || a.from - b.from);
  const starts = new Set(sorted.map(({ to }) => to));
  const ends = new Set([0, ...sorted.map(({ to, size }) => to + size)]);
  /** How many of its two ends no other record touches. */
  const loose = ({ to, size }: FlattenedRun): number =>
    (ends.has(to) ? 0 : 1) + (starts.has(to + size) ? 0 : 1);
  const overlapping = new Set<FlattenedRun>();
  for (const [i, run] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before === undefined || before.to + before.size <= run.to) continue;
    overlapping.add(before).add(run);
  }
  const suspects = sorted.filter((run) => loose(run) > (overlapping.has(run) ? 0 : 1));
  // one damage changes one head; more than a few are another writer's way
  if (suspects.length === 0 || suspects.length > 8) return records;
  const moved = new Map<FlattenedRun, FlattenedRun | undefined>();
  for (const run of suspects) {
    const others = sorted.filter((other) => other !== run);
    const gaps = gapsOf(others).filter(({ size }) => size === run.size);
    const [gap] = gaps;
    if (gap !== undefined && gaps.length === 1) moved.set(run, { ...run, to: gap.to });
  }
  return moved.size === 1
    ? records.flatMap((run) => (moved.has(run) ? (moved.get(run) ?? []) : run))
    : records;
}

/** Bytes that no record of an ascending list has, before its last. */
function gapsOf(sorted: readonly FlattenedRun[]): { to: number; size: number }[] {
  const gaps: { to: number; size: number }[] = [];
  let at = 0;
  for (const { to, size } of sorted) {
    if (to > at) gaps.push({ to: at, size: to - at });
    at = Math.max(at, to + size);
  }
  return gaps;
}
