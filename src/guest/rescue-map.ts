import type { HeadFact } from "./head.js";
import type { DoubtfulPart, Rescue } from "./salvage.js";

/** What is known of a part of an input: read as it is; lost; read, though little proves that it is what it seems. */
export type PartState = "whole" | "lost" | "doubtful";

/** A part of an input, in bytes. */
export interface MappedPart {
  readonly offset: number;
  readonly length: number;
  readonly state: PartState;
  /** What was there, or what speaks against it. */
  readonly what?: string;
  /** Of a lost part: how many records in a row prove the place where reading goes on after it; 0: nothing does. */
  readonly proof?: number;
}

/** What is left of an input, part by part, and what memory may be older than it should be. */
export interface RescueMap {
  /** Bytes of the input. */
  readonly size: number;
  /** Ascending, without gaps, from 0 to `size`. */
  readonly parts: readonly MappedPart[];
  readonly memory: readonly DoubtfulPart[];
  /** What a damaged head held, as far as the rest shows it. */
  readonly head?: readonly HeadFact[];
}

/** Records in a row that leave no doubt where reading goes on. */
const SURE = 2;
/** In the place of a number of records: the record before a lost part may have got bytes that aren't its own. */
const SHIFTED = 0;

/** Draws the map of an input of `size` bytes from what its rescue found; without one all of it is whole. */
export function rescueMap(size: number, rescue: Rescue | undefined): RescueMap {
  const parts: MappedPart[] = [];
  let at = 0;
  let proof = SURE;
  const readable = (end: number): void => {
    if (end <= at) return;
    const place = { offset: at, length: end - at };
    parts.push(
      proof >= SURE
        ? { ...place, state: "whole" }
        : { ...place, state: "doubtful", what: DOUBT[proof] ?? "" },
    );
    at = end;
  };
  const lost = (rescue?.lost ?? []).toSorted((a, b) => a.start - b.start);
  for (const part of lost) {
    if (part.doubtfulFrom !== undefined && part.doubtfulFrom >= at) {
      readable(Math.min(part.doubtfulFrom, size));
      proof = SHIFTED;
    }
    readable(Math.min(part.start, size));
    const end = Math.min(part.end, size);
    const what = part.what ?? "damaged records";
    // of two that overlap the first is drawn
    if (end > at || end === part.start)
      parts.push({ offset: at, length: Math.max(0, end - at), state: "lost", what, proof: part.proof });
    at = Math.max(at, end);
    // what is found by its place in the file, and not by what is before it, needs no joint
    proof = part.proof === 1 ? 1 : SURE;
  }
  readable(size);
  const doubtful = rescue?.doubtfulBytes ?? [];
  const head = rescue?.head ?? [];
  return {
    size,
    parts: withDoubt(parts, doubtful),
    memory: rescue?.doubtful ?? [],
    ...(head.length === 0 ? {} : { head }),
  };
}

/** The parts with what is whole of them divided where bytes are doubtful, which are ascending and disjoint. */
function withDoubt(parts: readonly MappedPart[], doubtful: readonly DoubtfulPart[]): MappedPart[] {
  const divided: MappedPart[] = [];
  let next = 0;
  for (const part of parts) {
    const end = part.offset + part.length;
    let at = part.offset;
    const whole = (to: number): void => {
      if (to > at) divided.push({ ...part, offset: at, length: to - at });
      at = Math.max(at, to);
    };
    while (part.state === "whole") {
      const doubt = doubtful[next];
      if (doubt === undefined || doubt.start >= end) break;
      whole(Math.min(doubt.start, end));
      const to = Math.min(doubt.end, end);
      if (to > at) divided.push({ offset: at, length: to - at, state: "doubtful", what: doubt.why });
      at = Math.max(at, to);
      if (doubt.end > end) break;
      next += 1;
    }
    if (part.state === "whole") whole(end);
    else divided.push(part);
    while ((doubtful[next]?.end ?? Number.POSITIVE_INFINITY) <= end) next += 1;
  }
  return divided;
}

const DOUBT: readonly string[] = [
  "a record whose memory is shifted if bytes are missing from it or were inserted",
  "only one record proves that records begin here",
];

/** Of a part of the input that has several states, the one that is drawn. */
const WEIGHT: Readonly<Record<PartState, number>> = { whole: 0, doubtful: 1, lost: 2 };
const MARK: Readonly<Record<PartState, string>> = { whole: "#", doubtful: "?", lost: "." };

/** The map in one line of so many characters: `#` whole, `?` doubtful, `.` lost; what is lost shows, however small. */
export function mapPicture({ size, parts }: RescueMap, width: number): string {
  const cells: PartState[] = Array.from({ length: width }, () => "whole");
  for (const { offset, length, state } of parts) {
    const first = Math.min(width - 1, Math.floor((offset / Math.max(1, size)) * width));
    const end = Math.max(first + 1, Math.ceil(((offset + length) / Math.max(1, size)) * width));
    for (let i = first; i < end; i += 1) if (WEIGHT[state] > WEIGHT[cells[i] ?? "lost"]) cells[i] = state;
  }
  return cells.map((state) => MARK[state]).join("");
}
