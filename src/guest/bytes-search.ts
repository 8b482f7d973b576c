import { indexOfBytes } from "../io/byte-search.js";

/** Longer patterns are searched by tables of how far to step, which random bytes make slow. */
const SHORT = 7;
/** Wrong places that are looked at before the whole pattern is searched instead: so many, and one for so many bytes. */
const FEW = 32;
const BYTES_A_PLACE = 1024;

/** Bytes that memory is full of, the most frequent first: zeros, ones, text, x86-64 and AArch64 code. */
const FREQUENT = Uint8Array.from([
  0x00,
  0xff,
  0x48,
  0x8b,
  0x01,
  0x20,
  0x89,
  0xe8,
  0x0f,
  0x24,
  0x02,
  0x40,
  0x41,
  ...new TextEncoder().encode("etaoinsrldcupmhgfb_.0123456789-/\\n\\tvwykxSETACIRNODLPMFU"),
  0x08,
  0x10,
  0x04,
  0xc0,
  0x83,
  0x85,
  0x03,
  0x80,
]);

/** How rare a byte is in memory: 0 for the most frequent. */
const RARITY = Uint8Array.from({ length: 256 }, (_, byte) => {
  const rank = FREQUENT.indexOf(byte);
  return rank < 0 ? FREQUENT.length : rank;
});

/**
 * Searches for one run of bytes: by a few of them that begin with a rare one, as grep does, and by all of them where these few
 * are frequent.
 */
export class BytesSearch {
  readonly #pattern: Uint8Array;
  /** Where in the pattern the bytes are that are searched first. */
  readonly #offset: number;
  readonly #head: Uint8Array;

  /** @param pattern one byte or more */
  constructor(pattern: Uint8Array) {
    this.#pattern = pattern;
    let best = 0;
    for (let i = 1; i < pattern.length; i += 1) if (rarity(pattern, i) > rarity(pattern, best)) best = i;
    this.#offset = best;
    this.#head = pattern.subarray(best, best + SHORT - 1);
  }

  /** Index of the first place at or after `from`; -1 when there is none. */
  indexOf(bytes: Uint8Array, from: number): number {
    const pattern = this.#pattern;
    const offset = this.#offset;
    if (pattern.length === this.#head.length) return indexOfBytes(bytes, pattern, from);
    const last = bytes.length - pattern.length;
    let wrong = 0;
    for (let at = from; at <= last; at += 1) {
      const found = indexOfBytes(bytes, this.#head, at + offset);
      if (found < 0) return -1;
      at = found - offset;
      if (at > last) return -1;
      if (this.#isAt(bytes, at)) return at;
      wrong += 1;
      if (wrong > FEW + (at - from) / BYTES_A_PLACE) return indexOfBytes(bytes, pattern, at + 1);
    }
    return -1;
  }

  #isAt(bytes: Uint8Array, at: number): boolean {
    const pattern = this.#pattern;
    for (let i = 0; i < pattern.length; i += 1) if (bytes[at + i] !== pattern[i]) return false;
    return true;
  }
}

const rarity = (pattern: Uint8Array, index: number): number => RARITY[pattern[index] ?? 0] ?? 0;
