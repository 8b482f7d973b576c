import * as path from "node:path";
import * as zlib from "node:zlib";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { crc32c } from "../../../src/io/codecs/crc32c.js";
import { decompressStream } from "../../../src/io/codecs/streams.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { streamOf } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openFile } from "../../../src/io/node/files.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import type { AvmlInspection } from "../../../src/vmcore/avml/inspect.js";
import { hasShared, rounds, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { dump, word } from "./made-dump.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const contentsOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => ((i >> 3) * seed + (i % 7 === 0 ? i : 0)) & 0xff);

const codes = async (bytes: Uint8Array): Promise<string[]> =>
  (await verify(bytesSource(bytes, "dump"))).report.findings.map(({ code }) => code);

describe("CRC-32C", () => {
  it("is the one of RFC 3720", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  });
});

describe("compressed AVML dumps", () => {
  it("are read whatever their ranges and chunks", async () => {
    const block = fc.record({
      pages: fc.integer({ min: 1, max: 60 }),
      gap: fc.integer({ min: 0, max: 5 }),
      odd: fc.constantFrom(0, 0, 0, 1024, 256),
      seed: fc.nat(255),
      chunk: fc.constantFrom(65_536, 65_536, 4096, 20_480),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 4 }), async (shapes) => {
        let next = 0x1000;
        const blocks = shapes.map(({ pages, gap, odd, seed, chunk }) => {
          const start = next + gap * 4096;
          next = start + pages * 4096;
          return { start, contents: contentsOf(pages * 4096 - odd, seed), chunk };
        });
        const bytes = dump(blocks);
        expect(await codes(bytes)).toEqual([]);
        const guest = await openGuest(bytesSource(bytes, "dump"));
        for (const { start, contents } of blocks) {
          const into = new Uint8Array(contents.length);
          expect(await guest.memory.read(start, into)).toBe(contents.length);
          expect(Buffer.compare(into, contents)).toBe(0);
        }
        const total = blocks.reduce((sum, { contents }) => sum + contents.length, 0);
        let found = 0;
        for await (const piece of guest.memory.pieces()) found += piece.length;
        expect(found).toBe(total);
      }),
      { numRuns: rounds(60) },
    );
  });

  it("may hold chunks to be passed over, and the packed size at the end of a block", async () => {
    const contents = contentsOf(0x20000, 3);
    const extra = Buffer.concat([word(0xfe, 5), Buffer.alloc(5), word(0x80, 0)]);
    const plain = dump([{ start: 0x1000, contents, extra }]);
    expect(await codes(plain)).toEqual([]);
    const packed = BigInt(plain.length - 32 - 8);
    expect(await codes(dump([{ start: 0x1000, contents, extra, trailer: packed }]))).toEqual([]);
    expect(await codes(dump([{ start: 0x1000, contents, trailer: 7n }]))).toEqual(["vmcore/avml/trailer"]);
  });

  it("that are damaged are named with the place, and read as far as they go", async () => {
    const contents = contentsOf(0x30000, 5);
    const whole = dump([
      { start: 0x1000, contents },
      { start: 0x100000, contents },
    ]);
    const cut = whole.subarray(0, whole.length - 70_000);
    expect(await codes(cut)).toEqual(["vmcore/avml/truncated"]);
    await expect(openGuest(bytesSource(cut))).rejects.toMatchObject({ code: "vmcore/avml/truncated" });
    const guest = await openGuest(bytesSource(cut), { partial: true });
    expect([...guest.memory.ranges()].map(({ presence }) => presence)).toEqual([
      "present",
      "present",
      "absent",
    ]);

    const wrong = whole.slice();
    wrong[32 + 10 + 4 + 4 + 100] = (wrong[32 + 10 + 4 + 4 + 100] ?? 0) ^ 0x40;
    expect(await codes(wrong)).toEqual(["vmcore/avml/checksum"]);
    const page = new Uint8Array(4096);
    const damaged = await openGuest(bytesSource(wrong));
    await expect((async () => damaged.memory.read(0x1000, page))()).rejects.toThrow(GuestscopeError);

    const unknown = whole.slice();
    unknown[32 + 10] = 2;
    expect(await codes(unknown)).toEqual(["vmcore/avml/chunk"]);
    const overlapping = dump([
      { start: 0x1000, contents },
      { start: 0x2000, contents },
    ]);
    expect(await codes(overlapping)).toEqual(["vmcore/avml/overlap"]);
  });

  it("never cause anything but errors of the project", async () => {
    const whole = dump([
      { start: 0x1000, contents: contentsOf(0x21000, 5) },
      { start: 0x100000, contents: contentsOf(0x3000, 9), chunk: 4096 },
    ]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        fc.nat(whole.length),
        async (changes, length) => {
          const bytes = whole.slice(0, length);
          for (const [at, value] of changes) if (at < length) bytes[at % 2 === 0 ? at : at % 64] = value;
          await verify(bytesSource(bytes, "dump"));
          try {
            const guest = await openGuest(bytesSource(bytes, "dump"), { partial: true });
            for await (const piece of guest.memory.pieces()) expect(piece.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
        },
      ),
      { numRuns: rounds(200) },
    );
  });

  it.skipIf(skipUnless(hasShared, "shared data"))("of the field are read", async () => {
    const file = unzstd(path.join(sharedData, "field/compressed.avml.zst"), folder);
    const { report } = await verify(openFile(file));
    expect(report.findings).toEqual([]);
    const found = (await inspect(openFile(file))) as AvmlInspection;
    expect(found.memory?.regions).toEqual([
      { start: 0x1000, end: 0x9f000 },
      { start: 0x100000, end: 0x141000 },
    ]);
    expect(found.memory).toMatchObject({ present: 0x9e000 + 0x41000, zero: 0, absent: 0 });
  });
});

describe("LiME dumps with compress=1", () => {
  it("unpack as a whole", async () => {
    const contents = contentsOf(0x5000, 3);
    const header = Buffer.alloc(32);
    header.write("EMiL\x01");
    header.writeBigUInt64LE(0x1000n, 8);
    header.writeBigUInt64LE(BigInt(0x1000 + contents.length - 1), 16);
    const packed = zlib.deflateSync(Buffer.concat([header, contents]), { windowBits: 11, memLevel: 5 });
    for (const install of [() => undefined, installNodeCodecs]) {
      install();
      const stream = decompressStream("zlib", streamOf(bytesSource(packed, "lime")));
      const bytes = new Uint8Array(header.length + contents.length);
      let done = 0;
      while (done < bytes.length) done += await stream.read(bytes.subarray(done));
      const guest = await openGuest(bytesSource(bytes, "lime"));
      const into = new Uint8Array(contents.length);
      expect(await guest.memory.read(0x1000, into)).toBe(contents.length);
      expect(Buffer.compare(into, contents)).toBe(0);
    }
  });
});
