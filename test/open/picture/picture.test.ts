import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addressAt, makeAxis, unitOf } from "../../../src/open/picture/axis.js";
import { bucketize } from "../../../src/open/picture/buckets.js";
import { memoryPicture } from "../../../src/open/report/picture.js";
import type { MemoryTable } from "../../../src/open/session/protocol.js";

const runs = fc.array(fc.tuple(fc.nat(2 ** 34), fc.integer({ min: 1, max: 2 ** 20 }), fc.nat(2)), {
  minLength: 1,
  maxLength: 40,
});

function tableOf(list: readonly (readonly [gap: number, pages: number, kind: number])[]): MemoryTable {
  let at = 0;
  const all = list.map(([gap, pages, kind]) => {
    const start = at + gap * 4096;
    at = start + pages * 4096;
    return { start, end: at, kind };
  });
  return {
    starts: Float64Array.from(all, ({ start }) => start),
    ends: Float64Array.from(all, ({ end }) => end),
    kinds: Uint8Array.from(all, ({ kind }) => kind),
    legend: [
      { presence: "present", bytes: 0 },
      { presence: "zero", bytes: 0 },
      { presence: "absent", bytes: 0, reason: "lost" },
    ],
  };
}

describe("the axis of the map", () => {
  it("ascends, and finds every page where it put it", () => {
    fc.assert(
      fc.property(runs, (list) => {
        const table = tableOf(list);
        const axis = makeAxis(table);
        let last = -1;
        for (const [i, start] of table.starts.entries()) {
          const unit = unitOf(axis, start);
          expect(unit).toBeGreaterThan(last);
          expect(Math.abs(addressAt(axis, unit + 0.01) - start)).toBeLessThanOrEqual(4096);
          last = unitOf(axis, (table.ends[i] ?? 0) - 1);
        }
        expect(axis.width).toBeGreaterThan(last);
      }),
    );
  });

  it("draws a large gap narrow", () => {
    const axis = makeAxis(
      tableOf([
        [0, 1000, 0],
        [2 ** 30, 1000, 0],
      ]),
    );
    expect(axis.stretches.map(({ gap }) => gap)).toEqual([false, true, false]);
    expect(axis.width).toBeLessThan(2100 * 4096);
  });
});

describe("bucketize", () => {
  it("accounts for every part of every bucket once", () => {
    fc.assert(
      fc.property(
        runs,
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 0, max: 0.9, noNaN: true }),
        (list, count, share) => {
          const table = tableOf(list);
          const axis = makeAxis(table);
          const from = share * axis.width;
          const { shares, kinds } = bucketize(table, axis, from, axis.width, count);
          for (let i = 0; i < count; i += 1) {
            const sum = shares.subarray(i * kinds, (i + 1) * kinds).reduce((a, b) => a + b, 0);
            expect(sum).toBeGreaterThan(0.995);
            expect(sum).toBeLessThan(1.005);
          }
        },
      ),
    );
  });
});

describe("memoryPicture", () => {
  it("shows reasons as text, whatever they hold", () => {
    const table = tableOf([[0, 10, 2]]);
    const picture = memoryPicture({
      ...table,
      legend: [
        ...table.legend.slice(0, 2),
        { presence: "absent", bytes: 1, reason: "<script>alert(1)</script>" },
      ],
    });
    expect(picture.text).not.toContain("<script");
    expect(picture.text).toContain("&#60;script");
  });
});
