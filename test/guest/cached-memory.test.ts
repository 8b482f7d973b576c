import { expect, it } from "vitest";
import { CachedMemory } from "../../src/guest/cached-memory.js";
import type { PhysicalMemory } from "../../src/guest/memory.js";

const PAGE = 4096;
/** More than are kept. */
const PAGES = 2600;
/** Ends within a page. */
const END = PAGES * PAGE - 1000;

const byteAt = (gpa: number): number => (Math.floor(gpa / PAGE) * 7 + gpa) & 0xff;

/** Memory that answers at once, or later for every other page. */
function memoryOf(isSlow: boolean): { memory: PhysicalMemory; reads: () => number } {
  let reads = 0;
  const memory: PhysicalMemory = {
    ranges: () => [{ start: 0, end: END, presence: "present" }],
    read(gpa, into) {
      reads += 1;
      const n = Math.max(0, Math.min(into.length, END - gpa));
      const fill = (): number => {
        for (let i = 0; i < n; i += 1) into[i] = byteAt(gpa + i);
        return n;
      };
      if (!isSlow || Math.floor(gpa / PAGE) % 2 === 0) return fill();
      return new Promise((resolve) => {
        setImmediate(() => {
          resolve(fill());
        });
      });
    },
    // oxlint-disable-next-line require-yield
    async *pieces() {
      throw new Error("not asked for");
    },
  };
  return { memory, reads: () => reads };
}

it.each([
  ["at once", false],
  ["later", true],
])("gives what is there when pages make room for others, of memory that answers %s", async (_, isSlow) => {
  const { memory, reads } = memoryOf(isSlow);
  const cached = new CachedMemory(memory);
  let seed = 1;
  const place = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % (END + 2 * PAGE);
  };
  const check = async (gpa: number, length: number): Promise<void> => {
    const into = new Uint8Array(length);
    const n = await cached.read(gpa, into);
    expect(n).toBe(Math.max(0, Math.min(length, END - gpa)));
    for (let i = 0; i < n; i += 97) if (into[i] !== byteAt(gpa + i)) throw new Error(`wrong at ${gpa + i}`);
  };
  for (let round = 0; round < 2500; round += 1)
    await Promise.all([check(place(), 8), check(place(), 5000), check(place(), 70)]);
  expect(reads()).toBeGreaterThan(PAGES);
  // what was just read is kept
  await check(0, 16);
  const before = reads();
  await check(8, 16);
  expect(reads()).toBe(before);
});
