const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `192 MiB`, `1.5 GiB`; exact below one KiB. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ""}`;
}

/** `1,048,576`. */
export const count = (value: number): string => value.toLocaleString("en-US");

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Hexadecimal of a fixed number of digits, without a prefix. */
export const padded = (value: number | bigint, digits: number): string =>
  value.toString(16).padStart(digits, "0");

/** `12.5%`; never 0% or 100% for what isn't. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return "0%";
  const value = (100 * part) / whole;
  if (part > 0 && value < 0.1) return "<0.1%";
  if (part < whole && value > 99.9) return ">99.9%";
  return `${value.toFixed(value >= 99.95 || value === 0 ? 0 : 1)}%`;
}

/** An address that a person typed: `0x…`, or hexadecimal without it. Undefined for anything else. */
export function parseAddress(text: string): bigint | undefined {
  const digits = text
    .trim()
    .replaceAll(/[_\s`]/g, "")
    .replace(/^0x/i, "");
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt(`0x${digits}`) : undefined;
}

/** Characters that don't move the cursor or change direction; anything else shows as it is. */
export function visible(text: string): string {
  return text.replaceAll(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    "\ufffd",
  );
}
