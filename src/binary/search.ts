/**
 * The first index below `length` for which `holds` is true, or `length` when there is none. What `holds` says must not
 * change back to false after it was true.
 */
export function firstIndex(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The first index of ascending numbers at which they are `least` or more; their number (`length`) when all are less. */
export function firstAtLeast(values: ArrayLike<number>, least: number, length = values.length): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] ?? least) >= least) high = middle;
    else low = middle + 1;
  }
  return low;
}
