import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SpanList } from "../../../src/vmcore/kdump/spans.js";

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
