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

  it("of none are empty", async () => {
    const joined = joinSources("none");
    expect([joined.size, await joined.read(0, new Uint8Array(1))]).toEqual([0, 0]);
    expect(joined.startOf(two)).toBe(0);
  });
});
