import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SearchPiece } from "../../src/guest/search.js";
import { findStrings, type StringEncoding } from "../../src/guest/strings.js";
import { rounds } from "../shared.js";

async function* cut(bytes: Uint8Array, at: readonly number[]): AsyncGenerator<SearchPiece> {
  const borders = [0, ...at.filter((place) => place < bytes.length), bytes.length].sort((a, b) => a - b);
  for (let i = 0; i + 1 < borders.length; i += 1) {
    const [from = 0, to = 0] = borders.slice(i, i + 2);
    if (from < to) yield { address: BigInt(from), length: to - from, bytes: bytes.slice(from, to) };
  }
}

async function strings(
  pieces: AsyncIterable<SearchPiece>,
  least: number,
  encoding: StringEncoding = "ascii",
): Promise<[number, string][]> {
  const found: [number, string][] = [];
  for await (const { address, text } of findStrings(pieces, least, encoding))
    found.push([Number(address), text]);
  return found;
}

describe("strings", () => {
  const bytes = fc
    .array(fc.constantFrom(0, 0, 1, 0x41, 0x42, 9, 0x20, 0x7f, 0xff, 0x43), { maxLength: 200 })
    .map((list) => Uint8Array.from(list));
  const borders = fc.array(fc.nat(200), { maxLength: 12 });

  it("finds every run of printable characters, wherever pieces are cut", async () => {
    await fc.assert(
      fc.asyncProperty(bytes, borders, fc.integer({ min: 1, max: 6 }), async (all, at, least) => {
        const text = Buffer.from(all).toString("latin1");
        const expected = Array.from(
          text.matchAll(new RegExp(`[\\x20-\\x7e\\t]{${least},}`, "g")),
          (match) => [match.index, match[0]],
        );
        expect(await strings(cut(all, at), least)).toEqual(expected);
      }),
      { numRuns: rounds(500) },
    );
  });

  it("finds two-byte characters at even and odd addresses, across pieces", async () => {
    const all = Buffer.concat([
      Buffer.from([1]),
      Buffer.from("odd one", "utf16le"),
      Buffer.from([1, 1, 1]),
      Buffer.from("even", "utf16le"),
      Buffer.from([7]),
    ]);
    for (let border = 1; border < all.length; border += 1)
      expect(await strings(cut(Uint8Array.from(all), [border]), 4, "utf-16le")).toEqual([
        [1, "odd one"],
        [18, "even"],
      ]);
  });
});
