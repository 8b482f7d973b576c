import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isZero, wordsOf } from "../../src/io/zeros.js";
import { rounds } from "../shared.js";

describe("zeros", () => {
  it("are found wherever bytes start, and one that is not", () => {
    fc.assert(
      fc.property(
        fc.nat(7),
        fc.nat(100),
        fc.nat(25),
        fc.nat(100),
        fc.option(fc.nat(120)),
        (start, length, quarter, rest, mark) => {
          const all = new Uint8Array(128);
          if (mark !== null) all[mark] = 1;
          const bytes = all.subarray(start, start + length);
          const from = Math.min(quarter * 4, length);
          const to = Math.min(from + rest, length);
          const zero = bytes.subarray(from, to).every((byte) => byte === 0);
          expect(isZero(bytes, wordsOf(bytes), from, to)).toBe(zero);
        },
      ),
      { numRuns: rounds(2000) },
    );
  });
});
