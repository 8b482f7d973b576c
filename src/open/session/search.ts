import type { GuestImage } from "../../guest/image.js";
import type { SearchRequest, SearchResult } from "./protocol.js";
import { UsageError } from "../../findings/errors.js";

const LONGEST_PATTERN = 4096;
const MOST_HITS = 1 << 16;

/** Letters of ASCII in lower case. */
const LOWER: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

/**
 * Looks for a pattern in guest-physical memory from an address on; a pattern across two pages that are neighbours
 * is found, one across a gap is not. Damaged pages end the search with the error that says so.
 */
export async function searchMemory(guest: GuestImage, request: SearchRequest): Promise<SearchResult> {
  const { from, budget, mostHits } = request;
  const fold = request.ignoreCase === true;
  const pattern = fold ? request.pattern.map((byte) => LOWER[byte] ?? byte) : request.pattern;
  const size = pattern.length;
  if (size === 0 || size > LONGEST_PATTERN) {
    throw new UsageError(`a pattern has 1 to ${LONGEST_PATTERN} bytes`);
  }
  const most = Math.min(mostHits, MOST_HITS);
  const hits: number[] = [];
  let done = 0;
  /** The last size - 1 bytes of the piece before, if this one follows it. */
  let tail = new Uint8Array(0);
  let tailEnd = -1;
  for await (const { gpa, length, bytes } of guest.memory.pieces(from)) {
    const whole = bytes ?? new Uint8Array(length);
    const joined = tailEnd === gpa ? tail.length : 0;
    let area = whole;
    if (joined > 0) {
      area = new Uint8Array(joined + length);
      area.set(tail);
      area.set(whole, joined);
    }
    const searched = fold ? area.map((byte) => LOWER[byte] ?? byte) : area;
    for (let at = indexOf(searched, pattern, 0); at !== -1; at = indexOf(searched, pattern, at + 1)) {
      hits.push(gpa - joined + at);
      if (hits.length >= most) return { hits: Float64Array.from(hits), next: gpa - joined + at + 1, done };
    }
    done += length;
    tail = area.slice(Math.max(0, area.length - size + 1));
    tailEnd = gpa + length;
    // hits that begin in the tail were not seen yet: go on there
    if (done >= budget) return { hits: Float64Array.from(hits), next: tailEnd - tail.length, done };
  }
  return { hits: Float64Array.from(hits), done };
}

function indexOf(bytes: Uint8Array, pattern: Uint8Array, from: number): number {
  const first = pattern[0] ?? 0;
  const last = bytes.length - pattern.length;
  for (let at = bytes.indexOf(first, from); at >= 0 && at <= last; at = bytes.indexOf(first, at + 1)) {
    let i = 1;
    while (i < pattern.length && bytes[at + i] === pattern[i]) i += 1;
    if (i === pattern.length) return at;
  }
  return -1;
}
