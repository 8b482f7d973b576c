import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hilbertPoint, hilbertStep } from "../../viewer/src/map/hilbert.js";

const order = fc.integer({ min: 1, max: 26 });

describe("Hilbert's curve", () => {
  it("passes every point once, the next beside the last", () => {
    for (const side of [2, 4, 8, 16]) {
      const points = Array.from({ length: side * side }, (_, d) => hilbertPoint(side, d));
      expect(new Set(points.map(({ x, y }) => y * side + x)).size).toBe(side * side);
      for (const [i, { x, y }] of points.entries()) {
        const next = points[i + 1];
        if (next !== undefined) expect(Math.abs(next.x - x) + Math.abs(next.y - y)).toBe(1);
      }
    }
  });

  it("finds the step of a point", () => {
    fc.assert(
      fc.property(order, fc.double({ min: 0, max: 0.999_999, noNaN: true }), (n, share) => {
        const side = 2 ** n;
        const d = Math.floor(share * side * side);
        const { x, y } = hilbertPoint(side, d);
        expect(hilbertStep(side, x, y)).toBe(d);
      }),
    );
  });

  it("goes through the same places when it is finer", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 25 }),
        fc.double({ min: 0, max: 0.999_999, noNaN: true }),
        (n, share) => {
          const side = 2 ** n;
          const d = Math.floor(share * side * side);
          const coarse = hilbertPoint(side, d);
          const fine = hilbertPoint(side * 2, d * 4);
          expect([Math.floor(fine.x / 2), Math.floor(fine.y / 2)]).toEqual([coarse.x, coarse.y]);
        },
      ),
    );
  });
});
