import { type Chunk, CHUNK, isTable, type Runs, type Table, type TablePool } from "./page-chunk.js";

/** What a chunk is. */
const RUNS = 0;
const BYTES = 1;
const WORDS = 2;
/** Added to a code, so that none is negative. */
const BIAS = 2 ** 33;
const TWO_32 = 2 ** 32;

/** Puts a code of a page index into two words. */
export function putCode(words: Uint32Array, at: number, code: number): void {
  const biased = code + BIAS;
  words[at] = biased % TWO_32;
  words[at + 1] = Math.floor(biased / TWO_32);
}

/** The code in two words. */
export const codeAt = (words: Uint32Array, at: number): number =>
  (words[at + 1] ?? 0) * TWO_32 + (words[at] ?? 0) - BIAS;

/** Chunks as words: index and kind of each, then runs by their number, or a table's two arrays. */
export function encodeChunks(chunks: readonly (Chunk | undefined)[], words: Uint32Array): void {
  let at = 0;
  for (const [index, chunk] of chunks.entries()) {
    if (chunk === undefined) continue;
    words[at] = index;
    if (isTable(chunk)) {
      const { low, high } = chunk;
      words[at + 1] = high instanceof Uint8Array ? BYTES : WORDS;
      words.set(low, at + 3);
      words.set(new Uint32Array(high.buffer, high.byteOffset, high.byteLength / 4), at + 3 + CHUNK);
    } else {
      words[at + 1] = RUNS;
      words[at + 2] = chunk.starts.length;
      for (let i = 0; i < chunk.starts.length; i += 1) {
        words[at + 3 + i * 3] = chunk.starts[i] ?? 0;
        putCode(words, at + 4 + i * 3, chunk.codes[i] ?? 0);
      }
    }
    at += 3 + wordsOf(chunk);
  }
}

/** Words that chunks take. */
export function wordsOfChunks(chunks: readonly (Chunk | undefined)[]): number {
  let size = 0;
  for (const chunk of chunks) if (chunk !== undefined) size += 3 + wordsOf(chunk);
  return size;
}

const wordsOf = (chunk: Chunk): number =>
  isTable(chunk) ? CHUNK + chunk.high.byteLength / 4 : chunk.starts.length * 3;

/** Puts chunks in their places in a group. @param tables where the memory of tables comes from */
export function decodeChunks(words: Uint32Array, chunks: (Chunk | undefined)[], tables: TablePool): void {
  for (let at = 0; at < words.length; ) {
    const [index = 0, kind = RUNS, count = 0] = [words[at], words[at + 1], words[at + 2]];
    const chunk = kind === RUNS ? decodeRuns(words, at + 3, count) : decodeTable(words, at + 3, kind, tables);
    chunks[index] = chunk;
    at += 3 + wordsOf(chunk);
  }
}

function decodeRuns(words: Uint32Array, from: number, count: number): Runs {
  const runs: Runs = { starts: [], codes: [] };
  for (let i = 0; i < count; i += 1) {
    runs.starts.push(words[from + i * 3] ?? 0);
    runs.codes.push(codeAt(words, from + i * 3 + 1));
  }
  return runs;
}

function decodeTable(words: Uint32Array, from: number, kind: number, tables: TablePool): Table {
  const table = tables.take();
  table.low.set(words.subarray(from, from + CHUNK));
  const start = words.byteOffset + (from + CHUNK) * 4;
  if (kind === BYTES) table.high.set(new Uint8Array(words.buffer, start, CHUNK));
  else table.high = words.slice(from + CHUNK, from + 2 * CHUNK);
  return table;
}
