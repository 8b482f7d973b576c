import type { AddressSpace } from "./address-space.js";
import { searchImage } from "./image-sweep.js";
import { readUpTo, readU32 } from "./read.js";

/** Virtual addresses of the parts of kallsyms. */
export interface KallsymsPlaces {
  readonly names: bigint;
  /** Of the u32 that counts the symbols. */
  readonly count: bigint;
  readonly tokenTable: bigint;
  readonly tokenIndex: bigint;
  /** Where the table of relative addresses may be, and the base it counts from. */
  readonly offsets?: readonly { readonly table: bigint; readonly base?: bigint }[];
  /** Where the table of whole addresses may be. */
  readonly addresses?: readonly bigint[];
}

/** `0\0` … `9\0`: the tokens of the digits, each at its own code. */
const DIGITS = Uint8Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 0x30 + i / 2 : 0));
const FIRST_DIGIT = 0x30;
/** Bytes looked at before the digits and after them: tokens are short. */
const AROUND = 16 << 10;
/** Bytes of markers: one u32 for 256 symbols. */
const MOST_MARKERS = 64 << 10;
/** Compressed names of one marker's 256 symbols. */
const MOST_CHUNK = 256 * 260;

/**
 * Finds kallsyms in the kernel's image by its shape, for kernels whose VMCOREINFO does not name it (before 6.0):
 * 256 tokens, each ended by a NUL, with the digits at their own codes; the tokens' index after them; markers
 * before them; names and their count before those.
 */
export async function findByShape(space: AddressSpace, text: bigint): Promise<KallsymsPlaces | undefined> {
  for await (const digits of searchImage(space, text, DIGITS)) {
    const places = await placesAround(space, digits);
    if (places !== undefined) return places;
  }
  return undefined;
}

async function placesAround(space: AddressSpace, digits: bigint): Promise<KallsymsPlaces | undefined> {
  const tokens = await tokensAround(space, digits);
  if (tokens === undefined) return undefined;
  const markers = await markersBefore(space, tokens.table);
  if (markers === undefined) return undefined;
  const names = await namesBefore(space, markers);
  if (names === undefined) return undefined;
  const { count, symbols } = names;
  const round = (bytes: number): bigint => BigInt(Math.ceil(bytes / 8) * 8);
  const after = tokens.index + 512n;
  return {
    names: names.names,
    count,
    tokenTable: tokens.table,
    tokenIndex: tokens.index,
    offsets: [
      // before 6.4: offsets, base, count, names …
      { table: count - 8n - round(symbols * 4), base: count - 8n },
      // from 6.4 on: … index, offsets, base
      { table: after, base: after + round(symbols * 4) },
      { table: after },
    ],
    addresses: [count - round(symbols * 8)],
  };
}

async function tokensAround(
  space: AddressSpace,
  digits: bigint,
): Promise<{ readonly table: bigint; readonly index: bigint } | undefined> {
  const bytes = await readUpTo(space, digits - BigInt(AROUND), 2 * AROUND);
  if (bytes.length < AROUND + DIGITS.length) return undefined;
  let start = AROUND;
  // the NUL before each token
  for (let left = FIRST_DIGIT; left > 0; left -= 1) {
    const end = start - 1;
    start = end;
    while (start > 0 && bytes[start - 1] !== 0) start -= 1;
    if (start === 0 || start === end) return undefined;
  }
  // the table is aligned and follows zeros or markers: its first token may be preceded by none
  const starts: number[] = [];
  let at = start;
  for (let token = 0; token < 256; token += 1) {
    starts.push(at - start);
    const end = bytes.indexOf(0, at);
    if (end === -1) return undefined;
    at = end + 1;
  }
  const base = digits - BigInt(AROUND);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = at; index < at + 16 && index + 512 <= bytes.length; index += 1) {
    if (starts.every((value, i) => view.getUint16(index + 2 * i, true) === value))
      return { table: base + BigInt(start), index: base + BigInt(index) };
  }
  return undefined;
}

/** Ascending u32 (u64 before 4.20) from zero on, before the tokens. */
async function markersBefore(
  space: AddressSpace,
  tokens: bigint,
): Promise<{ readonly start: bigint; readonly values: readonly number[] } | undefined> {
  const from = tokens - BigInt(MOST_MARKERS);
  let bytes = await readUpTo(space, from, MOST_MARKERS);
  let base = from;
  if (bytes.length < MOST_MARKERS) {
    base = tokens - 4096n;
    bytes = await readUpTo(space, base, 4096);
    if (bytes.length < 4096) return undefined;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const size of [4, 8] as const) {
    const value = (at: number): number =>
      size === 4 || view.getUint32(at + 4, true) === 0 ? view.getUint32(at, true) : -1;
    // zeros may pad the table's end
    let at = bytes.length - size;
    while (at > bytes.length - 16 && value(at) === 0) at -= size;
    const values: number[] = [];
    for (; at >= 0; at -= size) {
      const marker = value(at);
      const next = values.at(-1);
      if (marker === -1 || (next !== undefined && marker >= next)) break;
      values.push(marker);
      if (marker === 0) {
        if (values.length > 1) return { start: base + BigInt(at), values: values.toReversed() };
        break;
      }
    }
  }
  return undefined;
}

async function namesBefore(
  space: AddressSpace,
  markers: { readonly start: bigint; readonly values: readonly number[] },
): Promise<{ readonly names: bigint; readonly count: bigint; readonly symbols: number } | undefined> {
  const { values, start } = markers;
  const last = values.at(-1) ?? 0;
  const most = values.length * 256;
  const whole = last + MOST_CHUNK + 16;
  const bytes = await readUpTo(space, start - BigInt(whole), whole);
  if (bytes.length < whole) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const origin = start - BigInt(whole);
  for (let at = whole - last; at >= 8; at -= 1) {
    if ((origin + BigInt(at)) % 8n !== 0n) continue;
    const symbols = view.getUint32(at - 8, true);
    if (symbols > most || symbols <= most - 256) continue;
    if (!agrees(bytes, at, values)) continue;
    const names = origin + BigInt(at);
    if ((await readU32(space, names - 8n)) === symbols) return { names, count: names - 8n, symbols };
  }
  return undefined;
}

/** Whether 256 names at a time end where the first markers say. */
function agrees(bytes: Uint8Array, names: number, markers: readonly number[]): boolean {
  let at = names;
  for (let i = 1; i < Math.min(markers.length, 4); i += 1) {
    for (let n = 0; n < 256; n += 1) {
      const first = bytes[at] ?? 0;
      at += first < 0x80 ? 1 + first : 2 + ((first & 0x7f) | ((bytes[at + 1] ?? 0) << 7));
    }
    if (at - names !== markers[i]) return false;
  }
  return true;
}
