import { because } from "../../guest/absent-reason.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findRun, memoryTable } from "../../../src/open/session/memory-table.js";
import { decodeWire, encodeWire } from "../../../src/open/session/wire.js";
import type { MemoryRange } from "../../../src/guest/memory.js";

describe("wire", () => {
  it("gives back numbers, bigints and arrays as they were", () => {
    fc.assert(
      fc.property(
        fc.bigInt(),
        fc.uint8Array(),
        fc.string(),
        fc.double({ noNaN: true }),
        (big, bytes, text, number) => {
          const value = {
            big,
            bytes,
            words: new Uint32Array(bytes),
            floats: Float64Array.from(bytes),
            text,
            number: Object.is(number, -0) || !Number.isFinite(number) ? 0 : number,
            none: null,
            list: [bytes, [big]],
          };
          expect(decodeWire(encodeWire(value))).toEqual(value);
        },
      ),
    );
  });

  it("takes no array of another kind than those it writes", () => {
    expect(decodeWire('{"$array":"constructor","data":""}')).toEqual({ $array: "constructor", data: "" });
  });
});

describe("memoryTable", () => {
  const memory = (ranges: readonly MemoryRange[]): Parameters<typeof memoryTable>[0] => ({
    ranges: () => ranges,
    read: () => 0,
    async *pieces() {},
  });

  it("finds the run of every address", () => {
    const gaps = fc.array(fc.tuple(fc.nat(50), fc.integer({ min: 1, max: 50 })), { maxLength: 30 });
    fc.assert(
      fc.property(gaps, (list) => {
        let at = 0;
        const ranges = list.map(([gap, size]): MemoryRange => {
          const start = at + gap;
          at = start + size;
          return { start, end: at, presence: "present" };
        });
        const table = memoryTable(memory(ranges));
        for (let address = 0; address <= at; address += 1) {
          const index = ranges.findIndex(({ start, end }) => start <= address && address < end);
          const run = findRun(table, address);
          expect(run < 0 ? -1 : run).toBe(index);
          if (run < 0) {
            const next = ranges.findIndex(({ start }) => start > address);
            expect(-1 - run).toBe(next === -1 ? ranges.length : next);
          }
        }
      }),
    );
  });

  it("stays small for a file that makes up a reason a page or more runs than can be shown", () => {
    const ranges = Array.from({ length: 3000 }, (_, i): MemoryRange => {
      return { start: i * 8192, end: i * 8192 + 4096, presence: "absent", reason: because(`reason ${i}`) };
    });
    const table = memoryTable(memory(ranges), 2000);
    expect(table.legend.length).toBeLessThan(60);
    expect(table.starts).toHaveLength(2000);
    expect(table.cutAt).toBe(2000 * 8192);
    expect(table.legend.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(2000 * 4096);
  });
});
