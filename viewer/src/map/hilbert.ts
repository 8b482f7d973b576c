/**
 * Hilbert's curve: neighbours along it are neighbours in the square, so that a stretch of memory is one patch. Orders
 * up to 26 stay within 2^53 steps. A finer curve goes through the same places as a coarser one.
 */

/** Where step `d` of a curve through a square of `side` (a power of two) lies. */
export function hilbertPoint(side: number, d: number): { readonly x: number; readonly y: number } {
  let x = 0;
  let y = 0;
  let rest = d;
  for (let s = 1; s < side; s *= 2) {
    const rx = Math.floor(rest / 2) % 2;
    const ry = (rest % 2) ^ rx;
    if (ry === 0) {
      if (rx === 1) {
        x = s - 1 - x;
        y = s - 1 - y;
      }
      [x, y] = [y, x];
    }
    x += s * rx;
    y += s * ry;
    rest = Math.floor(rest / 4);
  }
  return { x, y };
}

/** The step at which the curve passes a point. */
export function hilbertStep(side: number, px: number, py: number): number {
  let [x, y] = [px, py];
  let d = 0;
  for (let s = side / 2; s >= 1; s = Math.floor(s / 2)) {
    const rx = Math.floor(x / s) % 2;
    const ry = Math.floor(y / s) % 2;
    d += s * s * ((3 * rx) ^ ry);
    if (ry === 0) {
      if (rx === 1) {
        x = side - 1 - x;
        y = side - 1 - y;
      }
      [x, y] = [y, x];
    }
  }
  return d;
}
