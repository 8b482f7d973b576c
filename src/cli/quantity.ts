import { UsageError } from "../findings/errors.js";
import type { AddressRange } from "../guest/output-format.js";

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of `4096`, `0x1000`, `64K`, `1M`, `2GiB`; undefined for anything else, or what is 2^53 or more. */
function parseSize(text: string): number | undefined {
  const [, digits = "", unit = ""] = /^(0x[0-9a-f]+|\d+)([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  const isHexadecimal = /^0x/i.test(digits);
  // the B of a unit is a digit there
  const value =
    isHexadecimal && unit === "" ? Number(text) : Number(digits) * (UNITS[unit.toLowerCase()] ?? 1);
  return digits !== "" && Number.isSafeInteger(value) ? value : undefined;
}

/**
 * Addresses of `START-END` (END exclusive) or `START+LENGTH`.
 * @throws UsageError that names `option`
 */
export function parseAddressRange(option: string, text: string): AddressRange {
  const [, first = "", sign, second = ""] = /^([^-+]+)([-+])([^-+]+)$/.exec(text) ?? [];
  const start = parseSize(first);
  const last = parseSize(second);
  const end = start === undefined || last === undefined ? undefined : sign === "+" ? start + last : last;
  if (start !== undefined && end !== undefined && start < end && Number.isSafeInteger(end))
    return { start, end };
  throw new UsageError(
    `${option} ${text}: START-END with START below END is expected, or START+LENGTH: 0x1000-0x2000, 1M+64K`,
  );
}

/**
 * A parser's type for whole numbers in a range, both ends included.
 * @throws UsageError that names the option and its range
 */
export function integerOption(option: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new UsageError(`${option} ${text}: a whole number from ${least} to ${most} is expected`);
  };
}

/** A parser's type for an offset or address: `4096`, `0x1000`, `64K`. @throws UsageError that names the option */
export function offsetOption(option: string): (text: string) => number {
  return (text) => {
    const value = parseSize(text);
    if (value !== undefined) return value;
    throw new UsageError(`${option} ${text}: a number of bytes is expected: 4096, 0x1000, 64K`);
  };
}
