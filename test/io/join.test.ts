import { describe, expect, it } from "vitest";
import { bytesSource, readFully } from "../../src/io/byte-source.js";
import { joinSources } from "../../src/io/join.js";

describe("joined sources", () => {
  const [one, two] = [bytesSource(Uint8Array.of(1, 2, 3)), bytesSource(Uint8Array.of(4, 5))];

  it("follow each other, each once, however often they are added", async () => {
    const joined = joinSources("both", [one, two, one]);
    expect([joined.size, joined.startOf(one), joined.startOf(two)]).toEqual([5, 0, 3]);
    const bytes = new Uint8Array(8);
    expect(await readFully(joined, 1, bytes)).toBe(4);
    expect(Array.from(bytes.subarray(0, 4))).toEqual([2, 3, 4, 5]);
    expect(await joined.read(5, bytes)).toBe(0);
  });

  it("are read over the border between two in one read", async () => {
    const joined = joinSources("both", [one, two]);
    const bytes = new Uint8Array(4);
    expect(joined.read(1, bytes)).toBe(4);
    expect(Array.from(bytes)).toEqual([2, 3, 4, 5]);
    expect(joined.read(3, bytes)).toBe(2);
    const late = { name: "late", size: 3, read: async (at: number, into: Uint8Array) => one.read(at, into) };
    const mixed = joinSources("mixed", [two, late]);
    const all = new Uint8Array(9);
    expect(await mixed.read(0, all)).toBe(5);
    expect(Array.from(all.subarray(0, 5))).toEqual([4, 5, 1, 2, 3]);
  });

  it("of none are empty", async () => {
    const joined = joinSources("none");
    expect([joined.size, await joined.read(0, new Uint8Array(1))]).toEqual([0, 0]);
    expect(joined.startOf(two)).toBe(0);
  });
});
