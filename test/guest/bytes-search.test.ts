import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BytesSearch } from "../../src/guest/bytes-search.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";

installNodeCodecs();

const fewLetters = (constraints: fc.ArrayConstraints): fc.Arbitrary<Uint8Array> =>
  fc.array(fc.constantFrom(0, 0x61, 0x71), constraints).map((bytes) => Uint8Array.from(bytes));

describe("a search for bytes", () => {
  it("finds the first place from any place on", () => {
    fc.assert(
      fc.property(
        fewLetters({ maxLength: 400 }),
        fewLetters({ minLength: 1, maxLength: 12 }),
        fc.nat(400),
        (bytes, pattern, from) => {
          const found = new BytesSearch(pattern).indexOf(bytes, from);
          expect(found).toBe(Buffer.from(bytes).indexOf(pattern, Math.min(from, bytes.length)));
        },
      ),
    );
  });

  it("finds a long pattern at the end of bytes that all but match it, soon", () => {
    const pattern = new Uint8Array(4096).fill(0x71);
    pattern[4095] = 0x72;
    const bytes = new Uint8Array(8 << 20).fill(0x71);
    bytes[bytes.length - 1] = 0x72;
    const start = process.cpuUsage();
    expect(new BytesSearch(pattern).indexOf(bytes, 0)).toBe(bytes.length - 4096);
    expect(process.cpuUsage(start).user / 1000).toBeLessThan(2000);
  });
});
