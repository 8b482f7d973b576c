/** In place of a pfn: one that can't be right, and none. */
export const WRONG_PFN = -1;
export const NO_PFN = -2;

/**
 * Indexes of pfns of one batch that can't be right, ascending: senders walk through memory, so that a batch ascends.
 * Those outside of its longest ascending part are wrong; beside them, and at the ends, only those count that continue
 * a row. @param pfns WRONG_PFN: known to be wrong; NO_PFN: an entry that names no page
 */
export function outOfOrder(pfns: ArrayLike<number>): number[] {
  const named: number[] = [];
  for (let i = 0; i < pfns.length; i += 1) if (pfns[i] !== NO_PFN) named.push(i);
  return outOfRow(named.map((i) => pfns[i] ?? WRONG_PFN)).map((k) => named[k] ?? 0);
}

function outOfRow(pfns: readonly number[]): number[] {
  const isRight = ascending(pfns);
  const n = pfns.length;
  const at = (i: number): number => (isRight[i] === 1 ? (pfns[i] ?? -1) : -1);
  const wrong: number[] = [];
  for (let i = 0; i < n; i += 1) if (isRight[i] !== 1) wrong.push(i);
  if (wrong.length === 0 && n < 4) return wrong;
  const beside: number[] = [];
  for (let i = 0; i < n; i += 1) {
    const pfn = at(i);
    if (pfn < 0) continue;
    const [before, after] = [at(i - 1), at(i + 1)];
    const isRow = (before >= 0 && before === pfn - 1) || after === pfn + 1;
    // next to damage a pfn that merely fits proves nothing
    const isByDamage = (i > 0 && before < 0) || (i < n - 1 && after < 0);
    if (isByDamage && !isRow) beside.push(i);
    else if (i === 0 && at(2) === after + 1 && at(3) === after + 2 && isOneBit(pfn, after - 1))
      beside.push(i);
    else if (i === n - 1 && at(n - 3) === before - 1 && at(n - 4) === before - 2 && isOneBit(pfn, before + 1))
      beside.push(i);
  }
  return [...wrong, ...beside].sort((a, b) => a - b);
}

/** Marks the longest strictly ascending part of numbers that are 0 or more. */
function ascending(pfns: ArrayLike<number>): Uint8Array {
  /** Index of the smallest last number of an ascending part of each length. */
  const ends: number[] = [];
  const before = new Int32Array(pfns.length).fill(-1);
  for (let i = 0; i < pfns.length; i += 1) {
    const pfn = pfns[i] ?? -1;
    if (pfn < 0) continue;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((pfns[ends[middle] ?? 0] ?? 0) < pfn) low = middle + 1;
      else high = middle;
    }
    before[i] = low === 0 ? -1 : (ends[low - 1] ?? -1);
    ends[low] = i;
  }
  const marks = new Uint8Array(pfns.length);
  for (let i = ends.at(-1) ?? -1; i >= 0; i = before[i] ?? -1) marks[i] = 1;
  return marks;
}

/** Whether two numbers below 2^53 differ in one bit. */
function isOneBit(a: number, b: number): boolean {
  const high = Math.floor(a / 2 ** 32) ^ Math.floor(b / 2 ** 32);
  const low = ((a % 2 ** 32) ^ (b % 2 ** 32)) >>> 0;
  const isPower = (n: number): boolean => n !== 0 && (n & (n - 1)) === 0;
  return high === 0 ? isPower(low) : low === 0 && isPower(high);
}
