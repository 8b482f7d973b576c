import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { firstAtLeast, firstIndex } from "../../src/binary/search.js";

describe("binary search", () => {
  it("finds what a walk from the start finds", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), fc.integer({ min: -1, max: 21 }), (unsorted, least) => {
        const values = unsorted.sort((a, b) => a - b);
        const walked = values.findIndex((value) => value >= least);
        const expected = walked === -1 ? values.length : walked;
        expect(firstAtLeast(values, least)).toBe(expected);
        expect(firstIndex(values.length, (i) => (values[i] ?? 0) >= least)).toBe(expected);
        expect(firstAtLeast([...values, 0, 0], least, values.length)).toBe(expected);
      }),
    );
  });
});
