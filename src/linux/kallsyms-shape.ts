import type { AddressSpace } from "./address-space.js";
import { searchImage } from "./image-sweep.js";
import { readUpTo } from "./read.js";

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
/** Bytes before the tokens that may hold the names: as many as most kernels have, then more. */
const REACHES = [4 << 20, 16 << 20];
/** Symbols of the smallest kernel, and the bytes a symbol takes on average at most, with all that follows the names. */
const FEWEST_SYMBOLS = 1000;
const LONGEST_AVERAGE = 64;
/** Names between two markers. */
const MARKED = 256;
const MOST_TABLES = 8;
const MOST_STEPS = 1 << 26;

/**
 * Finds kallsyms in the kernel's image by its shape, for kernels whose VMCOREINFO does not name it (before 6.0):
 * 256 tokens, each ended by a NUL, with the digits at their own codes; the tokens' index after them; markers
 * before them; names and their count before those.
 */
export async function findByShape(space: AddressSpace, text: bigint): Promise<KallsymsPlaces | undefined> {
  const budget: Budget = { tables: MOST_TABLES, steps: MOST_STEPS };
  for await (const digits of searchImage(space, text, DIGITS)) {
    const places = await placesAround(space, digits, text, budget);
    if (places !== undefined) return places;
    if (budget.tables <= 0 || budget.steps <= 0) return undefined;
  }
  return undefined;
}

/** What may still be spent on a search: memory made of look-alikes must not cost minutes. */
interface Budget {
  /** Tables of tokens before which names are looked for. */
  tables: number;
  /** Names that are passed over. */
  steps: number;
}

async function placesAround(
  space: AddressSpace,
  digits: bigint,
  text: bigint,
  budget: Budget,
): Promise<KallsymsPlaces | undefined> {
  const tokens = await tokensAround(space, digits);
  if (tokens === undefined) return undefined;
  budget.tables -= 1;
  let found: Found | undefined;
  for (const most of REACHES) {
    if (found === undefined && budget.steps > 0)
      found = await namesBefore(space, tokens.table, text, most, budget);
  }
  if (found === undefined) return undefined;
  const { names, count, symbols } = found;
  const after = tokens.index + 512n;
  const end = after + BigInt(symbols * 4);
  return {
    names,
    count,
    tokenTable: tokens.table,
    tokenIndex: tokens.index,
    offsets: [
      // before 6.4: offsets, base, count, names …
      { table: count - 8n - BigInt(Math.ceil(symbols / 2) * 8), base: count - 8n },
      // from 6.4 on: … index, offsets, base
      { table: after, base: (end + 7n) & ~7n },
      { table: after },
    ],
    addresses: [count - BigInt(symbols * 8)],
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

/** Where names and their count are, and how many there are. */
interface Found {
  readonly names: bigint;
  readonly count: bigint;
  readonly symbols: number;
}

/**
 * The names and their count, somewhere before the tokens: a count from which the names lead to a table of markers
 * that agrees with them. What is between the markers and the tokens differs from version to version.
 */
async function namesBefore(
  space: AddressSpace,
  tokens: bigint,
  text: bigint,
  reach: number,
  budget: Budget,
): Promise<Found | undefined> {
  const most = Number(tokens - text < BigInt(reach) ? tokens - text : BigInt(reach));
  const origin = (tokens - BigInt(most) + 7n) & ~7n;
  const bytes = await readUpTo(space, origin, Number(tokens - origin));
  const whole = bytes.length - (bytes.length % 4);
  if (origin + BigInt(bytes.length) !== tokens) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = whole - 4; at >= 0 && budget.steps > 0; at -= 4) {
    const symbols = view.getUint32(at, true);
    const room = bytes.length - at;
    if (symbols < FEWEST_SYMBOLS || symbols * 4 > room || symbols * LONGEST_AVERAGE < room) continue;
    // the names follow at once, or at a multiple of eight
    for (const names of (origin + BigInt(at)) % 8n === 0n ? [at + 4, at + 8] : [at + 4]) {
      budget.steps -= symbols;
      if (!agrees(view, names, symbols)) continue;
      return { names: origin + BigInt(names), count: origin + BigInt(at), symbols };
    }
  }
  return undefined;
}

/** Whether `symbols` names from `names` on are followed by markers that agree with them. */
function agrees(view: DataView, names: number, symbols: number): boolean {
  let at = names;
  let second = 0;
  for (let i = 0; i < symbols; i += 1) {
    if (at + 2 > view.byteLength) return false;
    if (i === MARKED) second = at - names;
    const first = view.getUint8(at);
    if (first === 0) return false;
    at += first < 0x80 ? 1 + first : 2 + ((first & 0x7f) | (view.getUint8(at + 1) << 7));
  }
  for (let markers = at; markers < at + 16 && markers + 16 <= view.byteLength; markers += 1) {
    if (view.getUint32(markers, true) !== 0) continue;
    // u32 each, u64 before 4.20
    if (view.getUint32(markers + 4, true) === second) return true;
    if (view.getUint32(markers + 4, true) === 0 && view.getUint32(markers + 8, true) === second) return true;
  }
  return false;
}
