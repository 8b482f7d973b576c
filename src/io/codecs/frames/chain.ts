import type { PackedBytes } from "./frame.js";

/** What a word before a block leads to. */
export interface Step {
  /** Offset of what follows. */
  readonly next: number;
  /** The word ends the blocks. */
  readonly isEnd: boolean;
}

/** Bytes after damage in which blocks are looked for: a block, and more than is damaged at once. */
const MOST_SEARCHED = 16 << 20;
/** Bytes of one piece of them. */
const PIECE = 64 << 10;

/**
 * The first offset after `from` from which words lead from block to block up to `end`, exactly.
 * @param stepAt what a word, little-endian, leads to; undefined: it is none
 */
export async function indexOfChain(
  packed: PackedBytes,
  from: number,
  end: number,
  stepAt: (word: number, at: number) => Step | undefined,
): Promise<number | undefined> {
  /** Offsets that lead nowhere: chains meet. */
  const bad = new Set<number>();
  const leads = async (start: number): Promise<boolean> => {
    const seen: number[] = [];
    for (let at = start; !bad.has(at); ) {
      seen.push(at);
      const word = await packed.bytes(at, 4);
      const step = word.length < 4 ? undefined : stepAt(wordOf(word, 0), at);
      if (step?.isEnd === true && step.next === end) return true;
      if (step === undefined || step.isEnd || step.next >= end) break;
      at = step.next;
    }
    for (const at of seen) bad.add(at);
    return false;
  };
  const last = Math.min(end, from + MOST_SEARCHED);
  for (let start = from + 1; start < last; start += PIECE) {
    const piece = await packed.bytes(start, PIECE + 3);
    for (let i = 0; i < PIECE && i + 4 <= piece.length; i += 1) {
      const step = stepAt(wordOf(piece, i), start + i);
      if (step === undefined || step.isEnd || step.next >= end) continue;
      if (await leads(start + i)) return start + i;
    }
  }
  return undefined;
}

const wordOf = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)) >>>
  0;
