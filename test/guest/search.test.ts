import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/findings/errors.js";
import {
  bytesPattern,
  hexPattern,
  type Pattern,
  regexPattern,
  textPatterns,
} from "../../src/guest/pattern.js";
import { PageMap } from "../../src/guest/page-map.js";
import { physicalPieces, searchMemory, type SearchPiece } from "../../src/guest/search.js";
import { openFile } from "../../src/io/node/files.js";
import { rounds, scratch } from "../shared.js";

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

async function* cut(bytes: Uint8Array, at: readonly number[], start: bigint): AsyncGenerator<SearchPiece> {
  const borders = [0, ...at.filter((place) => place < bytes.length), bytes.length].sort((a, b) => a - b);
  for (let i = 0; i + 1 < borders.length; i += 1) {
    const [from = 0, to = 0] = borders.slice(i, i + 2);
    if (from === to) continue;
    const piece = bytes.slice(from, to);
    const isZero = piece.every((byte) => byte === 0);
    yield { address: start + BigInt(from), length: to - from, bytes: isZero ? undefined : piece };
    // a piece is valid until the next is asked for
    piece.fill(0xee);
  }
}

async function found(pieces: AsyncIterable<SearchPiece>, patterns: readonly Pattern[], context = 0) {
  const hits: { address: number; text: string; kind: string; context: string }[] = [];
  await searchMemory(
    pieces,
    patterns,
    ({ address, length, context: around, contextStart, kind }) => {
      const text = latin1(around.subarray(contextStart, contextStart + length));
      hits.push({ address: Number(address), text, kind, context: latin1(around) });
      return undefined;
    },
    { context },
  );
  return hits;
}

/** Bytes of few values, so that patterns are met, with long runs of zeros. */
const contents = fc
  .array(
    fc.oneof(
      fc.constantFrom("a", "b", "c", "\0").map((c) => [c.charCodeAt(0)]),
      fc.constant(Array(60).fill(0) as number[]),
    ),
    {
      minLength: 1,
      maxLength: 120,
    },
  )
  .map((parts) => Uint8Array.from(parts.flat()));

describe("search", () => {
  it("finds a pattern wherever pieces are cut, with its context", async () => {
    await fc.assert(
      fc.asyncProperty(
        contents,
        fc.array(fc.nat(2000), { maxLength: 20 }),
        fc.stringMatching(/^[abc\0]{1,4}$/),
        fc.nat(5),
        async (bytes, borders, pattern, context) => {
          const whole = latin1(bytes);
          const expected: { address: number; context: string }[] = [];
          for (let at = whole.indexOf(pattern); at >= 0; at = whole.indexOf(pattern, at + pattern.length))
            expected.push({
              address: 0x1000 + at,
              context: whole.slice(Math.max(0, at - context), at + pattern.length + context),
            });
          const hits = await found(
            cut(bytes, borders, 0x1000n),
            [bytesPattern("text", Buffer.from(pattern, "latin1"))],
            context,
          );
          expect(hits.map(({ address }) => address)).toEqual(expected.map(({ address }) => address));
          // around zeros that are left out nothing but zeros is lost of the context
          for (const [i, hit] of hits.entries())
            expect((expected[i]?.context ?? "").includes(hit.context)).toBe(true);
        },
      ),
      { numRuns: rounds(300) },
    );
  });

  it("finds what a regular expression matches wherever pieces are cut", async () => {
    await fc.assert(
      fc.asyncProperty(contents, fc.array(fc.nat(2000), { maxLength: 20 }), async (bytes, borders) => {
        const whole = latin1(bytes);
        const expected = Array.from(whole.matchAll(/a[bc]+\0?a/g), ({ index, 0: text }) => [index, text]);
        const hits = await found(cut(bytes, borders, 0n), [regexPattern("a[bc]+\\0?a")]);
        expect(hits.map(({ address, text }) => [address, text])).toEqual(expected);
      }),
      { numRuns: rounds(200) },
    );
  });

  it("finds bytes with gaps in a pattern", async () => {
    await fc.assert(
      fc.asyncProperty(contents, fc.array(fc.nat(2000), { maxLength: 10 }), async (bytes, borders) => {
        const expected = Array.from(latin1(bytes).matchAll(/a[^]b[^]{2}c/g), ({ index }) => index);
        const hits = await found(cut(bytes, borders, 0n), [hexPattern("61 ?? 62 ???? 63")]);
        expect(hits.map(({ address }) => address)).toEqual(expected);
      }),
      { numRuns: rounds(200) },
    );
  });

  it("does not join memory across a hole", async () => {
    async function* pieces(): AsyncGenerator<SearchPiece> {
      yield { address: 0n, length: 2, bytes: Buffer.from("xa") };
      yield { address: 4096n, length: 2, bytes: Buffer.from("bx") };
    }
    expect(await found(pieces(), textPatterns("ab"))).toEqual([]);
  });

  it("finds text as UTF-8 and as UTF-16LE, in any case where asked", async () => {
    const bytes = Uint8Array.from(
      Buffer.concat([Buffer.from("..Straße GRÜN\0"), Buffer.from("grün", "utf16le"), Buffer.from("..grÜn")]),
    );
    const hits = await found(cut(bytes, [7, 11, 20], 0n), textPatterns("Grün", true));
    expect(hits.map(({ kind }) => kind).sort()).toEqual(["utf-16le", "utf-8", "utf-8"]);
    expect((await found(cut(bytes, [], 0n), textPatterns("grün"))).map(({ kind }) => kind)).toEqual([
      "utf-16le",
    ]);
  });

  it("refuses patterns that are none", () => {
    for (const text of ["", "de a", "zz", "?? ??", "d?"])
      expect(() => hexPattern(text), text).toThrow(UsageError);
    for (const text of ["(", "a*", ""]) expect(() => regexPattern(text), text).toThrow(UsageError);
    expect(() => textPatterns("")).toThrow(UsageError);
  });
});

describe("physical memory as pieces to search", () => {
  it("is the same read from a file in blocks as by the memory's own pieces, zeros and gaps between", async () => {
    const MIB = 1 << 20;
    const { folder, cleanup } = scratch();
    const file = path.join(folder, "memory");
    fs.writeFileSync(file, randomBytes(11 * MIB));
    const source = openFile(file);
    const map = new PageMap(source);
    // a small piece, a gap, one that is read in blocks, zeros, and one that follows it
    map.set(0, 16, 4096);
    map.set(64, (5 * MIB) / 4096 + 1, 100_000);
    map.zero(64 + (5 * MIB) / 4096 + 1, 300);
    map.set(64 + (5 * MIB) / 4096 + 301, (4 * MIB) / 4096, 6 * MIB);
    const collect = async (pieces: AsyncIterable<SearchPiece>): Promise<string> => {
      const hash = createHash("sha256");
      for await (const { address, length, bytes } of pieces)
        for (let done = 0; done < length; done += 4096) {
          hash.update(`${address + BigInt(done)};`);
          hash.update(bytes?.subarray(done, done + 4096) ?? new Uint8Array(Math.min(4096, length - done)));
        }
      return hash.digest("hex");
    };
    async function* own(start?: number, end?: number): AsyncGenerator<SearchPiece> {
      for await (const { gpa, length, bytes } of map.pieces(start, end))
        yield { address: BigInt(gpa), length, bytes };
    }
    const spans: readonly (readonly [number?, number?])[] = [[], [70 * 4096, 6 * MIB], [3 * 4096, 5 * 4096]];
    for (const [start, end] of spans)
      expect(await collect(physicalPieces(map, start, end))).toBe(await collect(own(start, end)));
    source.close();
    cleanup();
  });
});
