import type { ByteSource, MaybePromise } from "./byte-source.js";

/** Reads from here on are worth two threads, where a source has them: half of it still takes longer than waking one. */
const WORTH_HALVING = 2 << 20;

/**
 * As `source.read`; a large read becomes two that are under way at once: bytes that a page cache or a server has come in
 * half the time. May return less than `into.length` where the source does.
 */
export function readInHalves(
  source: Pick<ByteSource, "read">,
  offset: number,
  into: Uint8Array,
): MaybePromise<number> {
  if (into.length < WORTH_HALVING) return source.read(offset, into);
  const half = into.length >> 1;
  const first = source.read(offset, into.subarray(0, half));
  const readSecond = (): MaybePromise<number> => source.read(offset + half, into.subarray(half));
  if (first instanceof Promise) {
    // an error of the second read's start must not leave the first without anyone who waits for it
    const second = new Promise<number>((resolve) => {
      resolve(readSecond());
    });
    return Promise.all([first, second]).then(([low, high]) => (low < half ? low : low + high));
  }
  if (first < half) return first;
  const second = readSecond();
  return second instanceof Promise ? second.then((high) => half + high) : half + second;
}
