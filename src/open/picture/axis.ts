import { firstIndex } from "../../binary/search.js";
import type { MemoryTable } from "../session/protocol.js";

/**
 * The address axis of the map. Guests have their memory in a few stretches with large gaps between (devices below
 * 4 GiB): to scale, the gaps would be most of the picture. So a large gap is as wide as a hundredth of the memory,
 * and is drawn as a break. Positions on the axis are counted in *units*: a byte of memory each.
 */

/** A stretch of the axis, [start, end) in addresses and [at, at + width) in units. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly at: number;
  readonly width: number;
  /** Units are not bytes here: nothing is in it. */
  readonly gap: boolean;
}

export interface Axis {
  readonly stretches: readonly Stretch[];
  /** Units in all. */
  readonly width: number;
}

/** Gaps drawn as breaks at most, the largest. */
const MOST_BREAKS = 48;
/** A gap of less than this share of the memory stays to scale. */
const LEAST_BREAK = 1 / 50;
const BREAK_WIDTH = 1 / 90;

export function makeAxis(table: MemoryTable): Axis {
  const extents: { start: number; end: number }[] = [];
  for (let i = 0; i < table.starts.length; i += 1) {
    const kind = table.legend[table.kinds[i] ?? 0];
    if (kind?.unpopulated === true) continue;
    const start = table.starts[i] ?? 0;
    const end = table.ends[i] ?? 0;
    const last = extents.at(-1);
    if (last !== undefined && last.end === start) last.end = end;
    else extents.push({ start, end });
  }
  if (extents.length === 0) {
    const end = Math.max(4096, table.ends.at(-1) ?? 0);
    return { stretches: [{ start: 0, end, at: 0, width: end, gap: false }], width: end };
  }
  const memory = extents.reduce((sum, { start, end }) => sum + end - start, 0);
  const gaps = extents
    .slice(1)
    .map(({ start }, i) => ({ index: i + 1, size: start - (extents[i]?.end ?? 0) }))
    .filter(({ size }) => size > memory * LEAST_BREAK)
    .sort((a, b) => b.size - a.size)
    .slice(0, MOST_BREAKS);
  const breaks = new Set(gaps.map(({ index }) => index));
  const breakWidth = Math.max(1, memory * BREAK_WIDTH);
  const stretches: Stretch[] = [];
  let at = 0;
  let open: { start: number; end: number } | undefined;
  const finish = (): void => {
    if (open === undefined) return;
    const width = open.end - open.start;
    stretches.push({ ...open, at, width, gap: false });
    at += width;
  };
  const first = extents[0]?.start ?? 0;
  if (first > 0 && first <= memory * LEAST_BREAK) open = { start: 0, end: first };
  for (const [i, extent] of extents.entries()) {
    if (breaks.has(i)) {
      finish();
      const start = open?.end ?? 0;
      stretches.push({ start, end: extent.start, at, width: breakWidth, gap: true });
      at += breakWidth;
      open = { ...extent };
    } else if (open === undefined) open = { ...extent };
    else open.end = extent.end;
  }
  finish();
  return { stretches, width: at };
}

function stretchBy(axis: Axis, isBefore: (stretch: Stretch) => boolean): Stretch | undefined {
  const { stretches } = axis;
  const found = firstIndex(stretches.length, (i) => {
    const stretch = stretches[i];
    return stretch === undefined || !isBefore(stretch);
  });
  return stretches[Math.min(found, stretches.length - 1)];
}

/** Address at a position. */
export function addressAt(axis: Axis, unit: number): number {
  const at = Math.min(Math.max(unit, 0), axis.width);
  const stretch = stretchBy(axis, (one) => one.at + one.width <= at);
  if (stretch === undefined) return 0;
  const share = stretch.width === 0 ? 0 : Math.min(1, (at - stretch.at) / stretch.width);
  return Math.floor(stretch.start + share * (stretch.end - stretch.start));
}

/** Position of an address. */
export function unitOf(axis: Axis, address: number): number {
  const stretch = stretchBy(axis, (one) => one.end <= address);
  if (stretch === undefined) return 0;
  const inside = Math.min(Math.max(address - stretch.start, 0), stretch.end - stretch.start);
  return stretch.at + (inside / (stretch.end - stretch.start)) * stretch.width;
}
