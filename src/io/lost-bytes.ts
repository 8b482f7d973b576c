import { FormatError } from "../findings/errors.js";
import type { ByteSource, LostBytes } from "./byte-source.js";

/** A read of bytes that are lost. */
export class LostBytesError extends FormatError {
  /** Bytes from where the read began up to the end of the lost ones, at most: of a read in parts, from its last part. */
  readonly after: number;

  constructor(lost: LostBytes, source: string, offset: number) {
    super(lost.rule, lost.message, { source, offset: lost.start });
    this.after = lost.end - offset;
  }
}

/**
 * A source of `size` bytes some of which are lost: a read that touches them throws LostBytesError, so that nothing is
 * ever taken for them.
 * @param kept the others, without a gap
 * @param lost ascending and disjoint
 */
export function withLostBytes(kept: ByteSource, size: number, lost: readonly LostBytes[]): ByteSource {
  /** Lost bytes before each part. */
  const before: number[] = [];
  let sum = 0;
  for (const { start, end } of lost) {
    before.push(sum);
    sum += end - start;
  }
  const read: ByteSource["read"] = (offset, into) => {
    let [low, high] = [0, lost.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((lost[middle]?.end ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const next = lost[low];
    if (next !== undefined && next.start < offset + into.length && into.length > 0)
      throw new LostBytesError(next, kept.name, offset);
    // more may be kept than counts: the end of a block that was too long
    const room = Math.max(0, Math.min(into.length, size - offset));
    return kept.read(offset - (before[low] ?? sum), room === into.length ? into : into.subarray(0, room));
  };
  return { name: kept.name, size, read };
}

/** What could be read before lost bytes or the input's end. */
interface IntactBytes {
  readonly length: number;
  /** Where reading may go on after lost bytes, from the read's offset; undefined: none were met. */
  readonly next: number | undefined;
}

/** Fills `into` from `offset` on, up to bytes that are lost. */
export async function readIntact(source: ByteSource, offset: number, into: Uint8Array): Promise<IntactBytes> {
  let done = 0;
  for (let most = into.length; done < into.length; ) {
    const part = into.subarray(done, done + most);
    try {
      const read = source.read(offset + done, part);
      const n = read instanceof Promise ? await read : read;
      if (n === 0) break;
      done += n;
    } catch (error) {
      if (!(error instanceof LostBytesError)) throw error;
      if (part.length === 1) return { length: done, next: done + Math.max(1, error.after) };
      most = part.length >> 1;
    }
  }
  return { length: done, next: undefined };
}

/** Fills `into` from `offset` on; returns the bytes before lost ones, or before the input's end. */
export async function readBefore(source: ByteSource, offset: number, into: Uint8Array): Promise<number> {
  return (await readIntact(source, offset, into)).length;
}
