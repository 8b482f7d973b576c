import * as fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { findBytes, findStrings, findValues } from "../../src/elf/search-bytes.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";

/** Few different bytes, so that patterns lie there often and overlap. */
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.array(fc.nat(2), { maxLength }).map((list) => Uint8Array.from(list));

const naive = (bytes: Uint8Array, pattern: Uint8Array, start: number, end: number): number[] =>
  Array.from({ length: bytes.length }, (_, at) => at).filter(
    (at) => at >= start && at + pattern.length <= end && pattern.every((value, i) => bytes[at + i] === value),
  );

describe.each(["everywhere", "in Node"])("searches %s", (where) => {
  beforeAll(() => {
    if (where === "in Node") installNodeCodecs();
  });

  it("find every place of a pattern, as long as it may be", () => {
    fc.assert(
      fc.property(bytes(300), bytes(12), fc.nat(40), fc.nat(300), (bytes, pattern, start, room) => {
        const end = Math.min(bytes.length, start + room);
        const expected = pattern.length === 0 ? [] : naive(bytes, pattern, start, end);
        expect([...findBytes(bytes, pattern, start, end)]).toEqual(expected);
      }),
    );
  });

  it("find numbers of four bytes, few or many, in either order", () => {
    const values = fc.uniqueArray(fc.integer({ min: 0, max: 0x0202_0202 }), { maxLength: 100 });
    fc.assert(
      fc.property(bytes(300), values, fc.boolean(), (bytes, extra, little) => {
        const view = new DataView(bytes.buffer);
        const there = bytes.length < 8 ? [] : [view.getUint32(1, little), view.getUint32(4, little)];
        const wanted = new Set([...extra, ...there]);
        const found = [...findValues(bytes, wanted, little)].sort((a, b) => a.at - b.at);
        const all = Array.from({ length: Math.max(0, bytes.length - 3) }, (_, at) => ({
          at,
          value: view.getUint32(at, little),
        }));
        expect(found).toEqual(all.filter(({ value }) => wanted.has(value)));
      }),
    );
  });

  it("find strings by themselves and as tails of others", () => {
    const table = new TextEncoder().encode("\0cpus\0max_cpus\0cpus_queue\0cpu\0");
    const of = (text: string): number[] => [...findStrings(table, new TextEncoder().encode(text))];
    expect(of("cpus")).toEqual([1, 10]);
    expect(of("cpus_queue")).toEqual([15]);
    expect(of("queue")).toEqual([20]);
    expect(of("cpu_")).toEqual([]);
  });
});
