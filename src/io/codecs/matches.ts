/** What a byte-oriented LZ77 compressor writes: literals, then a copy of earlier bytes, by turns. */
export interface MatchSink {
  /** Bytes [from, to) of the input as they are. */
  literals(from: number, to: number): void;
  /** `length` (at least 4) bytes that are `distance` bytes before. */
  copy(length: number, distance: number): void;
}

const HASH_BITS = 12;
const MIN_MATCH = 4;

/** Reused: of one call at a time, since finding matches is synchronous. */
const table = new Int32Array(1 << HASH_BITS);

/** Splits `input` greedily into literals and copies that reach back at most `maxDistance` bytes. */
export function findMatches(input: Uint8Array, maxDistance: number, sink: MatchSink): void {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const end = input.length - MIN_MATCH;
  table.fill(-1);
  let anchor = 0;
  let at = 0;
  while (at <= end) {
    const word = view.getUint32(at, true);
    const slot = Math.imul(word, 0x9e37_79b1) >>> (32 - HASH_BITS);
    const candidate = table[slot] ?? -1;
    table[slot] = at;
    if (candidate < 0 || at - candidate > maxDistance || view.getUint32(candidate, true) !== word) {
      // the longer nothing was found, the larger the steps: data that don't shrink pass quickly
      at += 1 + ((at - anchor) >> 6);
      continue;
    }
    let length = MIN_MATCH;
    while (at + length < input.length && input[at + length] === input[candidate + length]) length += 1;
    if (at > anchor) sink.literals(anchor, at);
    sink.copy(length, at - candidate);
    at += length;
    anchor = at;
  }
  if (anchor < input.length) sink.literals(anchor, input.length);
}
