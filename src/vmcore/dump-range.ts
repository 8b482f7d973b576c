/** What addresses of ranges in LiME and AVML dumps are multiples of: a boundary of the BIOS's map may be at any KiB. */
export const RANGE_UNIT = 256;
const UNIT = BigInt(RANGE_UNIT);

/**
 * The guest-physical range, `end` exclusive, of which a header says the first and the last byte; undefined where no range
 * can have them.
 */
export function rangeOf(
  first: bigint,
  last: bigint,
): { readonly start: number; readonly end: number } | undefined {
  if (first > last || last >= BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  if (first % UNIT !== 0n || (last + 1n) % UNIT !== 0n) return undefined;
  return { start: Number(first), end: Number(last) + 1 };
}
