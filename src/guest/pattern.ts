import { UsageError } from "../findings/errors.js";
import { byteText } from "../io/byte-search.js";
import { BytesSearch } from "./bytes-search.js";

/** A place where a pattern was found, within some bytes. */
export interface Match {
  readonly at: number;
  readonly length: number;
}

/** Something that is looked for in bytes. */
export interface Pattern {
  /** What a hit of it is: `utf-8`, `utf-16le`, `hex`, `regex`. */
  readonly kind: string;
  /** Bytes of the longest match that is found for certain, wherever it is. */
  readonly reach: number;
  /** The first match that begins in [from, before) of `bytes`. */
  find(bytes: Uint8Array, from: number, before: number): Match | undefined;
}

/** Bytes of a regular expression's match that are found across the borders of blocks. */
const REGEX_REACH = 4096;
const MOST_PATTERN = 4096;

/** A pattern of fixed bytes. */
export function bytesPattern(kind: string, pattern: Uint8Array): Pattern {
  if (pattern.length === 0) throw new UsageError("the pattern is empty");
  if (pattern.length > MOST_PATTERN) throw new UsageError(`a pattern has ${MOST_PATTERN} bytes at most`);
  const search = new BytesSearch(pattern);
  return {
    kind,
    reach: pattern.length,
    find: (bytes, from, before) => {
      const end = Math.min(bytes.length, before + pattern.length - 1);
      const at = search.indexOf(end === bytes.length ? bytes : bytes.subarray(0, end), from);
      return at < 0 ? undefined : { at, length: pattern.length };
    },
  };
}

/** The UTF-16LE bytes of a text. */
function utf16(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    bytes[2 * i] = unit & 0xff;
    bytes[2 * i + 1] = unit >> 8;
  }
  return bytes;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const escaped = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");

/**
 * A text as UTF-8 and as UTF-16LE: one pattern each.
 * @throws UsageError when it is empty or too long
 */
export function textPatterns(text: string, ignoreCase = false): Pattern[] {
  const encodings = [
    ["utf-8", utf8],
    ["utf-16le", utf16],
  ] as const;
  return encodings.map(([kind, encode]) => {
    const plain = encode(text);
    if (!ignoreCase || text.toLowerCase() === text.toUpperCase()) return bytesPattern(kind, plain);
    if (plain.length > MOST_PATTERN) throw new UsageError(`a pattern has ${MOST_PATTERN} bytes at most`);
    // upper and lower case may differ in length: each letter is an alternative of bytes
    const source = Array.from(text, (letter) => {
      const forms = new Set([letter, letter.toLowerCase(), letter.toUpperCase()]);
      return `(?:${[...forms].map((form) => escaped(encode(form))).join("|")})`;
    }).join("");
    return new RegexPattern(kind, new RegExp(source, "g"), Math.min(MOST_PATTERN, plain.length * 3));
  });
}

/** `de ad ?? ef`: bytes in hexadecimal, `??` for any. @throws UsageError for anything else */
export function hexPattern(text: string): Pattern {
  const digits = text.replace(/\s+/g, "");
  if (!/^(?:[0-9a-f]{2}|\?\?)+$/i.test(digits))
    throw new UsageError(`${text}: expected bytes of two hexadecimal digits, or ??`);
  const wanted = Array.from({ length: digits.length / 2 }, (_, i) => {
    const part = digits.slice(2 * i, 2 * i + 2);
    return part === "??" ? undefined : parseInt(part, 16);
  });
  if (wanted.length > MOST_PATTERN) throw new UsageError(`a pattern has ${MOST_PATTERN} bytes at most`);
  const anchor = longestFixed(wanted);
  if (anchor.bytes.length === 0) throw new UsageError(`${text}: at least one byte must be given`);
  if (anchor.bytes.length === wanted.length) return bytesPattern("hex", anchor.bytes);
  const search = new BytesSearch(anchor.bytes);
  return {
    kind: "hex",
    reach: wanted.length,
    find: (bytes, from, before) => {
      const last = Math.min(bytes.length - wanted.length, before - 1);
      for (let at = from; at <= last; at += 1) {
        const found = search.indexOf(bytes, at + anchor.offset);
        if (found < 0) return undefined;
        at = found - anchor.offset;
        if (at > last) return undefined;
        if (wanted.every((byte, i) => byte === undefined || bytes[at + i] === byte))
          return { at, length: wanted.length };
      }
      return undefined;
    },
  };
}

function longestFixed(wanted: readonly (number | undefined)[]): { offset: number; bytes: Uint8Array } {
  let best = { offset: 0, length: 0 };
  for (let start = 0; start < wanted.length; ) {
    let end = start;
    while (end < wanted.length && wanted[end] !== undefined) end += 1;
    if (end - start > best.length) best = { offset: start, length: end - start };
    start = end + 1;
  }
  const part = wanted.slice(best.offset, best.offset + best.length);
  return { offset: best.offset, bytes: Uint8Array.from(part, (byte) => byte ?? 0) };
}

/**
 * A regular expression (JavaScript's) over bytes: `.` is one byte but a line feed, text beyond ASCII stands for its UTF-8
 * bytes (so not within brackets). Matches of more than 4 KiB may be cut short.
 * @throws UsageError when it is none, or matches nothing at all
 */
export function regexPattern(source: string, ignoreCase = false): Pattern {
  const bytes = source.replace(/[^\0-\x7f]/gu, (letter) => `(?:${escaped(utf8(letter))})`);
  let regex: RegExp;
  try {
    // case is that of ASCII: bytes beyond it are parts of letters
    regex = new RegExp(bytes, ignoreCase ? "gi" : "g");
  } catch (error) {
    throw new UsageError(`${source}: ${error instanceof Error ? error.message : "no regular expression"}`);
  }
  if (new RegExp(regex.source).test(""))
    throw new UsageError(`${source}: it matches nothing at all, so everywhere`);
  return new RegexPattern("regex", regex, REGEX_REACH);
}

class RegexPattern implements Pattern {
  readonly kind: string;
  readonly reach: number;
  readonly #regex: RegExp;
  /** The text of the bytes that were searched last: matches of one block share it. */
  #of: Uint8Array | undefined;
  #text = "";

  constructor(kind: string, regex: RegExp, reach: number) {
    this.kind = kind;
    this.#regex = regex;
    this.reach = reach;
  }

  find(bytes: Uint8Array, from: number, before: number): Match | undefined {
    if (this.#of !== bytes) {
      this.#text = byteText(bytes);
      this.#of = bytes;
    }
    this.#regex.lastIndex = from;
    const match = this.#regex.exec(this.#text);
    if (match === null || match.index >= before) return undefined;
    // what matches nothing here matches something elsewhere
    return { at: match.index, length: Math.max(1, match[0].length) };
  }
}
