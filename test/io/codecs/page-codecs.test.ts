import { execFileSync } from "node:child_process";
import * as zlib from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adler32, crc32, xxh32 } from "../../../src/io/codecs/checksums.js";
import { CODEC_NAMES, loadCompressor, loadDecompressor } from "../../../src/io/codecs/codec.js";
import { lzoCompress, lzoDecompress } from "../../../src/io/codecs/lzo.js";
import { FormatError } from "../../../src/findings/errors.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { hasProgram, rounds, skipUnless } from "../../shared.js";

/** Pages as guests have them: runs, repeated texts, noise, zeros. */
const page = fc
  .array(
    fc.oneof(
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(60))
        .map(([bytes, times]) =>
          Uint8Array.from({ length: bytes.length * (times + 1) }, (_, i) => bytes[i % bytes.length] ?? 0),
        ),
      fc.uint8Array({ maxLength: 700 }),
      fc.nat(2000).map((n) => new Uint8Array(n)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Uint8Array.from(Buffer.concat(parts)));

for (const implementation of ["for browsers", "Node's own"]) {
  describe(`page codecs, ${implementation}`, () => {
    it("loads", () => {
      if (implementation === "Node's own") installNodeCodecs();
    });

    for (const name of CODEC_NAMES) {
      it(`${name} gives back what it packed`, async () => {
        const compress = await loadCompressor(name);
        const decompress = await loadDecompressor(name);
        fc.assert(
          fc.property(page, (bytes) => {
            const packed = compress(bytes, 1);
            expect(Buffer.compare(decompress(packed, bytes.length), bytes)).toBe(0);
          }),
          { numRuns: rounds(150) },
        );
      });

      it(`${name} shrinks a page of text`, async () => {
        const compress = await loadCompressor(name);
        const bytes = Buffer.from("tiny guest page 0000000000000123 ".repeat(124)).subarray(0, 4096);
        expect(compress(bytes, 1).length).toBeLessThan(300);
      });

      it(`${name} refuses another length`, async () => {
        const compress = await loadCompressor(name);
        const decompress = await loadDecompressor(name);
        fc.assert(
          fc.property(page, fc.integer({ min: 1, max: 5000 }), fc.boolean(), (bytes, by, more) => {
            const packed = compress(bytes, 1);
            const length = more ? bytes.length + by : Math.max(0, bytes.length - by);
            fc.pre(length !== bytes.length);
            expect(() => decompress(packed, length)).toThrow(FormatError);
          }),
          { numRuns: rounds(60) },
        );
      });

      it(`${name} survives damage`, async () => {
        const compress = await loadCompressor(name);
        const decompress = await loadDecompressor(name);
        fc.assert(
          fc.property(
            page,
            fc.nat(),
            fc.integer({ min: 1, max: 255 }),
            fc.boolean(),
            (bytes, where, flip, cut) => {
              const packed = Uint8Array.from(compress(bytes, 1));
              const at = where % packed.length;
              packed[at] = (packed[at] ?? 0) ^ flip;
              try {
                const out = decompress(cut ? packed.subarray(0, at) : packed, bytes.length);
                expect(out).toHaveLength(bytes.length);
              } catch (error) {
                expect(error).toBeInstanceOf(FormatError);
              }
            },
          ),
          { numRuns: rounds(200) },
        );
      });

      it(`${name} survives noise`, async () => {
        const decompress = await loadDecompressor(name);
        fc.assert(
          fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
            try {
              expect(decompress(noise, 4096)).toHaveLength(4096);
            } catch (error) {
              expect(error).toBeInstanceOf(FormatError);
            }
          }),
          { numRuns: rounds(300) },
        );
      });
    }
  });
}

describe("LZO1X", () => {
  it("refuses a copy from before the start, by each kind of instruction", () => {
    for (const copy of [
      [64, 0],
      [32 | 5, 0xfc, 0xff],
      [16 | 8 | 3, 4, 0],
      [0, 0],
    ]) {
      const block = Uint8Array.from([18, 0x61, ...copy, 17, 0, 0]);
      expect(() => lzoDecompress(block, 100)).toThrow(FormatError);
    }
  });

  it("refuses a length without end", () => {
    const block = new Uint8Array(100_000);
    block.set([18, 0x61, 32]);
    expect(() => lzoDecompress(block, 4096)).toThrow("beyond the block");
  });

  it.skipIf(skipUnless(hasProgram("lzop"), "lzop"))("lzop reads what the compressor writes", () => {
    const text = Buffer.from("LABMARK-0123456789abcdef ".repeat(3000));
    const noise = Uint8Array.from({ length: 60_000 }, (_, i) => Math.imul(i * i, 2654435761) >>> 24);
    const inputs = [text, noise, Buffer.concat([noise, text.subarray(0, 5000), noise.subarray(0, 50_000)])];
    for (const input of inputs) {
      const packed = lzoCompress(input);
      const u32 = (value: number): number[] => [
        value >>> 24,
        (value >>> 16) & 255,
        (value >>> 8) & 255,
        value & 255,
      ];
      const head = [0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 1, 5, ...u32(1), ...u32(0), ...u32(0), ...u32(0), 0];
      const isPacked = packed.length < input.length;
      const body = isPacked ? packed : input;
      const file = Buffer.concat([
        Uint8Array.from([0x89, 0x4c, 0x5a, 0x4f, 0, 0x0d, 0x0a, 0x1a, 0x0a, ...head]),
        Uint8Array.from(u32(adler32(Uint8Array.from(head)))),
        Uint8Array.from([...u32(input.length), ...u32(body.length), ...u32(adler32(input))]),
        body,
        Uint8Array.from(u32(0)),
      ]);
      const out = execFileSync("lzop", ["-d", "-c"], { input: file, maxBuffer: 1 << 26 });
      expect(Buffer.compare(out, input)).toBe(0);
    }
  });
});

describe("checksums", () => {
  const text = Buffer.from("123456789");
  it("have their published check values", () => {
    expect(crc32(text)).toBe(0xcbf43926);
    expect(adler32(text)).toBe(0x091e01de);
    expect(xxh32(new Uint8Array(0))).toBe(0x02cc5d05);
    expect(xxh32(text)).toBe(0x937bad67);
  });
  it("crc32 is zlib's", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
        const packed = zlib.gzipSync(bytes);
        expect(crc32(bytes)).toBe(packed.readUInt32LE(packed.length - 8));
      }),
      { numRuns: 30 },
    );
  });
});
