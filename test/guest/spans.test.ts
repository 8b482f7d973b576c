import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DoubtfulRanges } from "../../src/guest/doubtful.js";
import { SpanList } from "../../src/guest/spans.js";

describe("a list of spans", () => {
  it("joins neighbours, and the nearest where there are too many", () => {
    const list = new SpanList(2);
    for (const [start, end] of [
      [0, 1],
      [1, 3],
      [10, 11],
      [13, 20],
    ] as const)
      list.add(start, end);
    expect(list.spans()).toEqual([
      { start: 0, end: 3 },
      { start: 10, end: 20 },
    ]);
    expect(list.gap).toBe(2);
  });

  it("is what many ranges of doubtful memory are, and their reason says what was joined", () => {
    const few = new DoubtfulRanges("is old");
    for (let page = 0; page < 4096; page += 1) few.add(page * 0x3000, page * 0x3000 + 0x1000);
    expect(few.parts()).toHaveLength(4096);
    expect(few.parts()[0]).toEqual({ start: 0, end: 0x1000, why: "is old" });
    const many = new DoubtfulRanges("is old");
    for (let page = 0; page < 10_000; page += 1) {
      const start = page * 0x3000 + (page % 4 === 0 ? 0 : 0x1000);
      many.add(start, start + 0x1000);
    }
    const parts = many.parts();
    expect(parts.length).toBeLessThanOrEqual(4096);
    expect(parts[0]?.why).toBe("is old (ranges up to 8192 bytes apart are one)");
    expect(parts.at(-1)?.end).toBe(9_999 * 0x3000 + 0x2000);
  });

  it("joins what has no more between than a record's head", () => {
    const list = new SpanList(10, 16);
    for (const start of [0, 116, 233]) list.add(start, start + 100);
    expect(list.spans()).toEqual([
      { start: 0, end: 216 },
      { start: 233, end: 333 },
    ]);
  });

  it("has all that was taken, in order and bounded, whatever the order", () => {
    const span = fc.record({ start: fc.nat(5000), length: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(fc.array(span, { maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (taken, most) => {
        const list = new SpanList(most);
        for (const { start, length } of taken) list.add(start, start + length);
        const spans = list.spans();
        expect(spans.length).toBeLessThanOrEqual(most);
        for (const { start, length } of taken)
          expect(spans.some((one) => one.start <= start && start + length <= one.end)).toBe(true);
        for (const [i, { start, end }] of spans.entries()) {
          expect(start).toBeLessThan(end);
          if (i > 0) expect(start).toBeGreaterThan(spans[i - 1]?.end ?? 0);
        }
        // without too many nothing else is in them
        const numbers = new Set(
          taken.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i)),
        );
        const whole = new SpanList(1000);
        for (const { start, length } of taken) whole.add(start, start + length);
        expect(whole.spans().reduce((sum, { start, end }) => sum + end - start, 0)).toBe(numbers.size);
      }),
    );
  });
});
