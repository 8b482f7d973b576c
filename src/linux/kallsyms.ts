import { damaged, LINUX_RULES } from "./rules.js";

/**
 * The kernel's compressed symbol table (Linux, scripts/kallsyms.c). A name is a length (one byte; when its top bit is
 * set its low seven bits and the next byte, shifted by seven) and that many numbers of tokens; the first character of
 * the expanded text is the type letter of nm.
 */

/** The tables as they are in memory. */
export interface KallsymsTables {
  /** Symbols that the kernel says there are. */
  readonly count: number;
  readonly names: Uint8Array;
  readonly tokenTable: Uint8Array;
  /** 256 × u16, little endian: offsets into the token table. */
  readonly tokenIndex: Uint8Array;
}

/** Names of all symbols, in the table's order. */
export interface SymbolNames {
  readonly count: number;
  /** All names, one after another, without type letters and separators. */
  readonly text: Uint8Array;
  /** Where each name begins in `text`; one more entry than symbols. */
  readonly starts: Uint32Array;
  /** Type letters as character codes. */
  readonly letters: Uint8Array;
  /** FNV-1a of each name. */
  readonly hashes: Uint32Array;
}

const TOKENS = 256;
/** Bytes of the longest name; the kernel's own limit is 512. */
const LONGEST_NAME = 1024;
/** Bytes of all names together: ten times as many as any kernel has. */
const MOST_TEXT = 64 << 20;
const FNV_BASIS = 0x811c_9dc5;
const FNV_PRIME = 0x0100_0193;

/** FNV-1a of a name. */
export function hashName(name: Uint8Array): number {
  let hash = FNV_BASIS;
  for (const byte of name) hash = Math.imul(hash ^ byte, FNV_PRIME);
  return hash >>> 0;
}

/** The texts of all tokens, one after another, and where each begins (257 places). */
function tokensOf(tables: KallsymsTables): { readonly text: Uint8Array; readonly starts: Uint32Array } {
  const { tokenTable, tokenIndex } = tables;
  if (tokenIndex.length < TOKENS * 2)
    throw damaged(LINUX_RULES.badKallsyms, "the index of kallsyms tokens is not whole");
  const starts = new Uint32Array(TOKENS + 1);
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let i = 0; i < TOKENS; i += 1) {
    const at = (tokenIndex[2 * i] ?? 0) | ((tokenIndex[2 * i + 1] ?? 0) << 8);
    const end = at < tokenTable.length ? tokenTable.indexOf(0, at) : -1;
    if (end === -1)
      throw damaged(
        LINUX_RULES.badKallsyms,
        `kallsyms token ${i} begins at ${at}, beyond the table of tokens`,
      );
    if (end - at > LONGEST_NAME)
      throw damaged(LINUX_RULES.badKallsyms, `kallsyms token ${i} has ${end - at} characters`);
    starts[i] = length;
    parts.push(tokenTable.subarray(at, end));
    length += end - at;
  }
  starts[TOKENS] = length;
  const text = new Uint8Array(length);
  for (const [i, part] of parts.entries()) text.set(part, starts[i] ?? 0);
  return { text, starts };
}

/**
 * Expands all names.
 *
 * @throws FormatError `linux/kallsyms/damaged`
 */
export function expandNames(tables: KallsymsTables): SymbolNames {
  const tokens = tokensOf(tables);
  const { names } = tables;
  // a symbol takes two bytes at least: nothing is allocated by what is announced alone
  if (tables.count > names.length / 2)
    throw damaged(
      LINUX_RULES.badKallsyms,
      `kallsyms announces ${tables.count} symbols, and ${names.length} bytes of names could be read`,
    );
  const { count } = tables;
  const starts = new Uint32Array(count + 1);
  const letters = new Uint8Array(count);
  const hashes = new Uint32Array(count);
  let text = new Uint8Array(Math.min(MOST_TEXT, names.length * 2 + LONGEST_NAME));
  let used = 0;
  let at = 0;
  for (let symbol = 0; symbol < count; symbol += 1) {
    if (used + LONGEST_NAME + 1 > text.length) text = grown(text);
    let left = names[at] ?? 0;
    at += 1;
    if ((left & 0x80) !== 0) {
      left = (left & 0x7f) | ((names[at] ?? 0) << 7);
      at += 1;
    }
    const end = at + left;
    if (end > names.length || left === 0)
      throw damaged(
        LINUX_RULES.badKallsyms,
        left === 0
          ? `kallsyms symbol ${symbol} has no name`
          : `kallsyms breaks off at symbol ${symbol} of ${count}`,
      );
    starts[symbol] = used;
    const limit = used + LONGEST_NAME;
    let hash = FNV_BASIS;
    let letter = 0;
    for (; at < end; at += 1) {
      const token = names[at] ?? 0;
      const tokenEnd = tokens.starts[token + 1] ?? 0;
      for (let from = tokens.starts[token] ?? 0; from < tokenEnd; from += 1) {
        const byte = tokens.text[from] ?? 0;
        if (letter === 0) {
          letter = byte;
          continue;
        }
        if (used === limit)
          throw damaged(LINUX_RULES.badKallsyms, `the name of kallsyms symbol ${symbol} has no end`);
        text[used] = byte;
        used += 1;
        hash = Math.imul(hash ^ byte, FNV_PRIME);
      }
    }
    letters[symbol] = letter;
    hashes[symbol] = hash >>> 0;
  }
  starts[count] = used;
  return { count, text: text.subarray(0, used), starts, letters, hashes };
}

function grown(text: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (text.length >= MOST_TEXT)
    throw damaged(LINUX_RULES.badKallsyms, `the names of kallsyms take more than ${MOST_TEXT} bytes`);
  const larger = new Uint8Array(Math.min(MOST_TEXT, text.length * 2 + LONGEST_NAME));
  larger.set(text);
  return larger;
}

/** How kallsyms holds addresses. */
export type AddressForm = "absolute" | "base-relative" | "absolute-percpu" | "self-relative";

/** Where the table of addresses is and what it counts from. */
export interface AddressTable {
  /** Contents: s32 each, u64 with `absolute`. */
  readonly bytes: Uint8Array;
  /** Virtual address of the table itself. */
  readonly place: bigint;
  /** kallsyms_relative_base, where the kernel has it. */
  readonly base?: bigint;
}

const TWO_32 = 2 ** 32;

/** The address of one symbol; undefined beyond the table and for a form that lacks its base. */
export function addressOf(table: AddressTable, form: AddressForm, index: number): bigint | undefined {
  const view = new DataView(table.bytes.buffer, table.bytes.byteOffset, table.bytes.byteLength);
  const size = form === "absolute" ? 8 : 4;
  if ((index + 1) * size > view.byteLength) return undefined;
  if (form === "absolute") return view.getBigUint64(index * 8, true);
  const value = view.getInt32(index * 4, true);
  if (form === "self-relative") return BigInt.asUintN(64, table.place + BigInt(index * 4 + value));
  if (table.base === undefined) return undefined;
  if (form === "base-relative") return BigInt.asUintN(64, table.base + BigInt(value >>> 0));
  return value >= 0 ? BigInt(value) : BigInt.asUintN(64, table.base - 1n - BigInt(value));
}

/** The addresses of the first `count` symbols, as many as the table holds. */
export function decodeAddresses(table: AddressTable, form: AddressForm, count: number): BigUint64Array {
  const { bytes } = table;
  const n = Math.min(count, Math.floor(bytes.length / (form === "absolute" ? 8 : 4)));
  const out = new BigUint64Array(n);
  // as pairs of words: no bigint per symbol
  const words = new Uint32Array(out.buffer);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const origin = form === "self-relative" ? table.place : (table.base ?? 0n);
  const low = Number(origin & 0xffff_ffffn);
  const high = Number((origin >> 32n) & 0xffff_ffffn);
  const first = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;
  for (let i = 0; i < n; i += 1) {
    if (form === "absolute") {
      words[2 * i + first] = view.getUint32(8 * i, true);
      words[2 * i + 1 - first] = view.getUint32(8 * i + 4, true);
      continue;
    }
    const value = view.getInt32(4 * i, true);
    const isPerCpu = form === "absolute-percpu" && value >= 0;
    const step =
      form === "self-relative" ? 4 * i + value : form === "base-relative" ? value >>> 0 : -1 - value;
    const sum = isPerCpu ? value : low + step;
    words[2 * i + first] = sum >>> 0;
    words[2 * i + 1 - first] = isPerCpu ? 0 : (high + Math.floor(sum / TWO_32)) >>> 0;
  }
  return out;
}
