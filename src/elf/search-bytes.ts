import { indexOfBytes } from "../io/byte-search.js";

/** Node looks for longer patterns in a way that takes ten times as long here. */
const SHORT = 7;

/** Offsets in [start, end) where `pattern` is, ascending. */
export function* findBytes(
  bytes: Uint8Array,
  pattern: Uint8Array,
  start = 0,
  end: number = bytes.length,
): Iterable<number> {
  if (pattern.length === 0) return;
  const region = end >= bytes.length ? bytes : bytes.subarray(0, end);
  const head = pattern.subarray(0, SHORT);
  for (let at = indexOfBytes(region, head, start); at >= 0; at = indexOfBytes(region, head, at + 1)) {
    let i = head.length;
    while (i < pattern.length && region[at + i] === pattern[i]) i += 1;
    if (i === pattern.length) yield at;
  }
}

/** Fewer values than this are searched for one by one. */
const FEW = 64;

/** Offsets where any of some 32-bit values is, with the value; ascending by value or by offset. */
export function* findValues(
  bytes: Uint8Array,
  values: ReadonlySet<number>,
  littleEndian: boolean,
  start = 0,
  end: number = bytes.length,
): Iterable<{ readonly at: number; readonly value: number }> {
  if (values.size <= FEW) {
    for (const value of values) {
      const pattern = new Uint8Array(4);
      new DataView(pattern.buffer).setUint32(0, value, littleEndian);
      for (const at of findBytes(bytes, pattern, start, end)) yield { at, value };
    }
    return;
  }
  // low 16 bits of each value: one look-up sorts out nearly all offsets
  const low = new Uint8Array(0x10000);
  for (const value of values) low[value & 0xffff] = 1;
  const [b0, b1, b2, b3] = littleEndian ? [0, 1, 2, 3] : [3, 2, 1, 0];
  const last = Math.min(end, bytes.length) - 4;
  for (let at = nextLow(bytes, low, start, last, b0, b1); at <= last; ) {
    const half = (bytes[at + b0] ?? 0) | ((bytes[at + b1] ?? 0) << 8);
    const value = (half | ((bytes[at + b2] ?? 0) << 16) | ((bytes[at + b3] ?? 0) << 24)) >>> 0;
    if (values.has(value)) yield { at, value };
    at = nextLow(bytes, low, at + 1, last, b0, b1);
  }
}

/** The next offset up to `last` whose low 16 bits are those of some value; beyond `last` when there is none. */
function nextLow(
  bytes: Uint8Array,
  low: Uint8Array,
  start: number,
  last: number,
  b0: number,
  b1: number,
): number {
  let at = start;
  while (at <= last && low[(bytes[at + b0] as number) | ((bytes[at + b1] as number) << 8)] === 0) at += 1;
  return at;
}

/** Offsets of a string table where `text` ends a string: linkers let strings share their tails. */
export function findStrings(table: Uint8Array, text: Uint8Array): Set<number> {
  const pattern = new Uint8Array(text.length + 1);
  pattern.set(text);
  return new Set(findBytes(table, pattern));
}
