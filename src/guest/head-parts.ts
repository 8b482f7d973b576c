import type { LostPart } from "./salvage.js";

/** A header or a part of one: where it should be, and whether it is what it should be. */
export interface HeadPart {
  readonly start: number;
  readonly end: number;
  readonly isWhole: boolean;
}

/**
 * Lost parts of a head: damaged headers that follow one another are one part.
 * @param proof how many records in a row prove where the head ends
 */
export function lostHeadParts(parts: readonly HeadPart[], proof: number, what: string): LostPart[] {
  const lost: { start: number; end: number }[] = [];
  for (const { start, end, isWhole } of parts) {
    if (isWhole || end <= start) continue;
    const last = lost.at(-1);
    if (last?.end === start) last.end = end;
    else lost.push({ start, end });
  }
  // two records leave no doubt, and what is before a whole header needs no more
  return lost.map((part) => ({ ...part, proof: Math.max(2, proof), what }));
}
