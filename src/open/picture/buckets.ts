import { findRun } from "../session/memory-table.js";
import type { MemoryTable } from "../session/protocol.js";
import type { Axis } from "./axis.js";

/** Shares of each kind in equal parts of a stretch of the axis. */
export interface Buckets {
  readonly count: number;
  /** Kinds of the table, then one for what does not exist. */
  readonly kinds: number;
  /** Share (0…1) of kind k in bucket b at b * kinds + k. */
  readonly shares: Float32Array;
}

/** Divides units [from, to) of the axis into `count` buckets and says what is in each. */
export function bucketize(
  table: MemoryTable,
  axis: Axis,
  from: number,
  to: number,
  count: number,
  into?: Float32Array,
): Buckets {
  const kinds = table.legend.length + 1;
  const hole = kinds - 1;
  const size = count * kinds;
  const shares = into?.length === size ? into.fill(0) : new Float32Array(size);
  const scale = count / (to - from);

  /** Adds [a, b), in buckets and parts of them. */
  const fill = (a: number, b: number, kind: number): void => {
    const left = Math.max(0, a);
    const right = Math.min(count, b);
    if (right <= left) return;
    const first = Math.floor(left);
    const last = Math.min(count - 1, Math.floor(right));
    if (first === last) {
      shares[first * kinds + kind] = (shares[first * kinds + kind] ?? 0) + right - left;
      return;
    }
    shares[first * kinds + kind] = (shares[first * kinds + kind] ?? 0) + first + 1 - left;
    for (let i = first + 1; i < last; i += 1) shares[i * kinds + kind] = 1;
    shares[last * kinds + kind] = (shares[last * kinds + kind] ?? 0) + right - last;
  };

  for (const stretch of axis.stretches) {
    const end = stretch.at + stretch.width;
    if (end <= from || stretch.at >= to) continue;
    const toBucket = (address: number): number =>
      (stretch.at + ((address - stretch.start) / (stretch.end - stretch.start)) * stretch.width - from) *
      scale;
    if (stretch.gap) {
      fill((stretch.at - from) * scale, (end - from) * scale, hole);
      continue;
    }
    const perUnit = (stretch.end - stretch.start) / stretch.width;
    const low = stretch.start + Math.max(0, from - stretch.at) * perUnit;
    const high = Math.min(stretch.end, stretch.start + (to - stretch.at) * perUnit);
    const found = findRun(table, low);
    let at = low;
    for (let i = found < 0 ? -1 - found : found; i < table.starts.length; i += 1) {
      const start = Math.max(low, table.starts[i] ?? 0);
      if (start >= high) break;
      if (start > at) fill(toBucket(at), toBucket(start), hole);
      at = Math.min(high, table.ends[i] ?? 0);
      fill(toBucket(start), toBucket(at), table.kinds[i] ?? 0);
    }
    if (at < high) fill(toBucket(at), toBucket(high), hole);
  }
  return { count, kinds, shares };
}
