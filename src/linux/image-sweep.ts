import { memoryTotals } from "../guest/memory.js";
import { yieldToEventLoop } from "../io/event-loop.js";
import type { AddressSpace } from "./address-space.js";

/** Bytes read at a time. */
const WINDOW = 256 << 10;
/** What one window repeats of the one before. */
const OVERLAP = 64;
/** Bytes of a kernel's image that are searched. */
const MOST_IMAGE = 192 << 20;
/** Unmapped bytes in a row after which the image is over. */
const MOST_GAP = 8 << 20;
const PAGE = 4096;

/**
 * Places of a byte pattern (of at most 64 bytes) in the kernel's image from `start` on, ascending. Pages that are
 * missing are passed over; no more is read than there is memory.
 */
export async function* searchImage(
  space: AddressSpace,
  start: bigint,
  pattern: Uint8Array,
): AsyncGenerator<bigint> {
  const buffer = new Uint8Array(WINDOW);
  const [first = 0] = pattern;
  const { present, zero } = memoryTotals(space.memory);
  let gap = 0;
  // what page tables map again and again is searched once
  let left = present + zero + WINDOW;
  for (let done = 0; done < MOST_IMAGE && gap < MOST_GAP && left > 0; ) {
    const n = await space.read(start + BigInt(done), buffer);
    left -= n;
    for (
      let at = buffer.indexOf(first);
      at !== -1 && at + pattern.length <= n;
      at = buffer.indexOf(first, at + 1)
    ) {
      let i = 1;
      while (i < pattern.length && buffer[at + i] === pattern[i]) i += 1;
      if (i === pattern.length) yield start + BigInt(done + at);
    }
    if (n === WINDOW) done += WINDOW - OVERLAP;
    else done += n - (n % PAGE) + PAGE;
    gap = n === 0 ? gap + PAGE : 0;
    await yieldToEventLoop();
  }
}
