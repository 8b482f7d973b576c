import { execFileSync } from "node:child_process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteStream, bytesSource, streamOf } from "../../../src/io/byte-source.js";
import {
  COMPRESSION_NAMES,
  type CompressionName,
  detectCompression,
} from "../../../src/io/codecs/compressions.js";
import { decompressStream } from "../../../src/io/codecs/streams.js";
import { FormatError, TruncatedError } from "../../../src/findings/errors.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { hasProgram, rounds, skipUnless } from "../../shared.js";

/** A program that packs its input as zlib. */
const zlibCommand = (options: string): readonly string[] => [
  "node",
  "-e",
  `process.stdout.write(require("zlib").deflateSync(require("fs").readFileSync(0), ${options}))`,
];

/** Each compression with the ways its own program writes it. */
const PROGRAMS: Readonly<Record<CompressionName, readonly (readonly string[])[]>> = {
  gzip: [["gzip", "-c"]],
  xz: [
    ["xz", "-c", "-1"],
    ["xz", "-c", "--check=crc32", "--block-size=65536"],
  ],
  zstd: [
    ["zstd", "-c", "-q", "-1"],
    ["zstd", "-c", "-q", "--long=27", "--no-check"],
  ],
  lz4: [
    ["lz4", "-c", "-q"],
    ["lz4", "-c", "-q", "-9", "-B4", "-BD", "-BX"],
    ["lz4", "-c", "-q", "-l"],
    ["lz4", "-c", "-q", "-BI", "--content-size", "--no-frame-crc"],
  ],
  bzip2: [
    ["bzip2", "-c", "-1"],
    ["bzip2", "-c", "-9"],
  ],
  lzop: [
    ["lzop", "-c"],
    ["lzop", "-c", "-9", "--crc32"],
    ["lzop", "-c", "-1", "-F"],
  ],
  zlib: [
    zlibCommand("{}"),
    zlibCommand("{ level: 1 }"),
    // as LiME's compress=1 does
    zlibCommand("{ windowBits: 11, memLevel: 5 }"),
  ],
};

/** Text, zeros, long runs and noise: 900 KB that compressors treat in different ways. */
function sample(): Uint8Array {
  const bytes = new Uint8Array(900_001);
  let seed = 12345;
  for (let i = 0; i < bytes.length; i += 1) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const region = (i >> 14) % 5;
    if (region === 0) bytes[i] = "A page of a guest. "[i % 19]?.charCodeAt(0) ?? 0;
    else if (region === 1) bytes[i] = seed >>> 24;
    else if (region === 3) bytes[i] = (i >> 3) & 0xff;
    else if (region === 4) bytes[i] = 0xff;
  }
  return bytes;
}

const contents = sample();
const pack = (command: readonly string[], input: Uint8Array): Uint8Array =>
  execFileSync(command[0] ?? "", command.slice(1), { input, maxBuffer: 1 << 28 });

/** The same bytes, a few at a time. */
function dripping(bytes: Uint8Array, step: number): ByteStream {
  const whole = streamOf(bytesSource(bytes, "drip"));
  return { name: "drip", read: (into) => whole.read(into.subarray(0, step)) };
}

async function readAll(stream: ByteStream, limit = 1 << 26): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const window = new Uint8Array(100_000);
  let length = 0;
  for (;;) {
    const n = await stream.read(window);
    if (n === 0) return Buffer.concat(parts);
    parts.push(window.slice(0, n));
    length += n;
    expect(length).toBeLessThan(limit);
  }
}

/** What a stream gives, and the error that ends it. */
async function readToError(stream: ByteStream): Promise<{ bytes: Uint8Array; error: unknown }> {
  const parts: Uint8Array[] = [];
  const window = new Uint8Array(100_000);
  try {
    for (let n = await stream.read(window); n > 0; n = await stream.read(window))
      parts.push(window.slice(0, n));
    return { bytes: Buffer.concat(parts), error: undefined };
  } catch (error) {
    return { bytes: Buffer.concat(parts), error };
  }
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function suite(implementation: string): void {
  describe(`decompressStream, ${implementation}`, () => {
    for (const name of COMPRESSION_NAMES) {
      const absent = skipUnless(hasProgram(PROGRAMS[name][0]?.[0] ?? name), name);
      it.skipIf(absent)(`reads what ${name} writes`, async () => {
        for (const command of PROGRAMS[name]) {
          const packed = pack(command, contents);
          expect(detectCompression(packed.subarray(0, 9)), command.join(" ")).toBe(name);
          const whole = await readAll(decompressStream(name, streamOf(bytesSource(packed, "x"))));
          expect(equal(whole, contents), command.join(" ")).toBe(true);
        }
      });

      it.skipIf(absent)(`reads ${name} in small steps, empty and twice in a row`, async () => {
        const [command = []] = PROGRAMS[name];
        const little = contents.subarray(0, 20_000);
        const packed = pack(command, little);
        expect(equal(await readAll(decompressStream(name, dripping(packed, 7))), little)).toBe(true);
        const empty = pack(command, new Uint8Array(0));
        expect(await readAll(decompressStream(name, streamOf(bytesSource(empty, "e"))))).toHaveLength(0);
        if (name === "zlib") return;
        const twice = Buffer.concat([packed, packed]);
        const read = await readAll(decompressStream(name, dripping(twice, 1000)));
        expect(equal(read, Buffer.concat([little, little]))).toBe(true);
      });

      it.skipIf(absent)(`${name} cut short is an error`, async () => {
        const [command = []] = PROGRAMS[name];
        const packed = pack(command, contents.subarray(0, 50_000));
        for (const part of [0.1, 0.5, 0.9, 0.999]) {
          const cut = packed.subarray(0, Math.max(9, Math.floor(packed.length * part)));
          const reading = readAll(decompressStream(name, streamOf(bytesSource(cut, "cut"))));
          await expect(reading, `${name} ${part}`).rejects.toBeInstanceOf(FormatError);
        }
      });

      it.skipIf(absent)(`${name} cut anywhere gives what came before, then says where it ends`, async () => {
        // fflate doesn't tell a cut from damage
        const blurred = implementation === "for browsers" && /^(gzip|zlib)$/.test(name);
        for (const command of PROGRAMS[name]) {
          const packed = pack(command, contents);
          let before = -1;
          for (const end of [60, 1000, 40_000, Math.floor(packed.length / 2), packed.length - 40]) {
            const stream = decompressStream(name, dripping(packed.subarray(0, end), 5000), 700);
            const { bytes, error } = await readToError(stream);
            const what = `${command.join(" ")} cut at ${end}`;
            expect(equal(bytes, contents.subarray(0, bytes.length)), what).toBe(true);
            expect(error, what).toBeInstanceOf(blurred ? FormatError : TruncatedError);
            expect((error as FormatError).place.offset, what).toBe(700 + end);
            expect(bytes.length, what).toBeGreaterThanOrEqual(before);
            before = bytes.length;
          }
          // whatever doesn't come in blocks as large as this sample is given nearly to the end
          if (!/^(bzip2|lzop)$/.test(name)) expect(before, command.join(" ")).toBeGreaterThan(700_000);
        }
      });

      it.skipIf(absent)(`other bytes after the end of ${name} are said, after all that came`, async () => {
        const [command = []] = PROGRAMS[name];
        const packed = Buffer.concat([pack(command, contents), Buffer.from("something else that follows")]);
        const { bytes, error } = await readToError(decompressStream(name, dripping(packed, 9000)));
        if (implementation === "for browsers" && name === "gzip") return; // fflate passes over some
        expect(error).toBeInstanceOf(FormatError);
        // what a native decoder made in the step that failed is lost
        const lost = name === "gzip" ? 64 << 10 : 0;
        expect(bytes.length).toBeGreaterThanOrEqual(contents.length - lost);
        expect(equal(bytes, contents.subarray(0, bytes.length))).toBe(true);
      });

      it.skipIf(absent)(`${name} damaged is an error or the very contents`, async () => {
        const [command = []] = PROGRAMS[name];
        const little = contents.subarray(0, 40_000);
        // of several members each has its own sum
        const ends = name === "gzip" ? [15_000, 40_000] : [40_000];
        const packed = Buffer.concat(
          ends.map((end, i) => pack(command, little.subarray(ends[i - 1] ?? 0, end))),
        );
        // fzstd doesn't check sums of contents: there damage may pass, never throw anything else
        const checked = name !== "zstd";
        await fc.assert(
          fc.asyncProperty(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
            const damaged = Uint8Array.from(packed);
            damaged[at] = (damaged[at] ?? 0) ^ flip;
            try {
              const whole = await readAll(decompressStream(name, streamOf(bytesSource(damaged, "damaged"))));
              if (checked) expect(equal(whole, little)).toBe(true);
            } catch (error) {
              expect(error).toBeInstanceOf(FormatError);
            }
          }),
          { numRuns: rounds(60) },
        );
      });

      it.skipIf(absent)(`a ${name} bomb comes out a window at a time`, async () => {
        const [command = []] = PROGRAMS[name];
        const packed = pack(command, new Uint8Array(32 << 20));
        const stream = decompressStream(name, streamOf(bytesSource(packed, "bomb")));
        const window = new Uint8Array(1 << 16);
        let total = 0;
        for (let n = await stream.read(window); n > 0; n = await stream.read(window)) total += n;
        expect(total).toBe(32 << 20);
      });
    }
  });
}

suite("for browsers");

describe.skipIf(skipUnless(hasProgram("zstd"), "zstd"))("a window that a zstd frame announces", () => {
  const packed = execFileSync("zstd", ["-c", "-q", "--ultra", "-22", "--long=27"], { input: "a few bytes" });

  async function unpacked(bytes: Uint8Array): Promise<Uint8Array> {
    const stream = decompressStream("zstd", streamOf(bytesSource(bytes, "small")));
    const parts: Uint8Array[] = [];
    const window = new Uint8Array(1 << 16);
    for (let n = await stream.read(window); n > 0; n = await stream.read(window))
      parts.push(window.slice(0, n));
    return Buffer.concat(parts);
  }

  it("costs no memory where so much doesn't follow", async () => {
    const wide = Uint8Array.from(packed);
    // 128 MiB, as of input whose size zstd doesn't know
    expect((wide[4] ?? 0) & 0x20).toBe(0);
    wide[5] = 17 << 3;
    await unpacked(wide);
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 4; i += 1) expect(Buffer.from(await unpacked(wide)).toString()).toBe("a few bytes");
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 << 20);
  });

  it("is refused in a frame whose blocks can't hold what it says it has", async () => {
    // one segment of 100 MiB, then one raw block of four bytes
    const lying = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x40, 6, 0x21, 0, 0, 1, 2, 3, 4]);
    await expect(unpacked(lying)).rejects.toThrow(/has blocks for 131072 at most/);
    await expect(unpacked(lying.subarray(0, 14))).rejects.toBeInstanceOf(TruncatedError);
  });
});

describe("Node", () => {
  it("installs its own", () => installNodeCodecs());
});
suite("Node's own");
