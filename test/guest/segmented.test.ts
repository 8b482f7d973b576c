import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MemoryRange } from "../../src/guest/memory.js";
import { findSegment, joinAlike, readSegments, type Segment } from "../../src/guest/segmented.js";

/** Segments in ascending order with gaps, each of which gives at most `fault` bytes. */
const segments = fc
  .array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 9 }), fc.nat(12)), { maxLength: 8 })
  .map((parts) => {
    let end = 0;
    return parts.map(([gap, length, fault]) => {
      const start = end + gap;
      end = start + length;
      return { start, end, fault };
    });
  });

describe("segments", () => {
  it("are found by any address they hold, and only by those", () => {
    fc.assert(
      fc.property(segments, fc.nat(130), (list, address) => {
        const expected = list.find(({ start, end }) => start <= address && address < end);
        expect(findSegment<Segment>(list, address)).toBe(expected);
      }),
    );
  });

  it("are read across until the first gap or fault, at once or by promises", async () => {
    await fc.assert(
      fc.asyncProperty(segments, fc.nat(100), fc.nat(40), fc.boolean(), async (list, from, length, later) => {
        const into = new Uint8Array(length).fill(0xff);
        const done = await readSegments(
          (address) => findSegment(list, address),
          from,
          into,
          ({ start, fault }, within, part) => {
            const n = Math.max(0, Math.min(part.length, fault - within));
            for (let i = 0; i < n; i += 1) part[i] = start + within + i;
            return later ? Promise.resolve(n) : n;
          },
        );
        const isThere = (address: number): boolean =>
          list.some(({ start, end, fault }) => start <= address && address < Math.min(end, start + fault));
        let expected = 0;
        while (expected < length && isThere(from + expected)) expected += 1;
        expect(done).toBe(expected);
        expect(Array.from(into.subarray(0, done))).toEqual(Array.from({ length: done }, (_, i) => from + i));
      }),
    );
  });

  it("that are alike and touch are joined, whoever made their reasons", () => {
    const lost = (start: number, end: number, text: string): MemoryRange => ({
      start,
      end,
      presence: "absent",
      reason: { kind: "not-saved", text },
    });
    expect([...joinAlike([lost(0, 1, "a"), lost(1, 2, "a"), lost(2, 3, "b"), lost(4, 5, "b")])]).toEqual([
      lost(0, 2, "a"),
      lost(2, 3, "b"),
      lost(4, 5, "b"),
    ]);
  });
});
