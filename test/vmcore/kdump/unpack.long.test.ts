import * as fs from "node:fs";
import * as path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../../src/findings/errors.js";
import type { PageCompression } from "../../../src/guest/output-format.js";
import type { PhysicalMemory } from "../../../src/guest/memory.js";
import { PageMap } from "../../../src/guest/page-map.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import type { CodecName } from "../../../src/io/codecs/codec.js";
import { loadUnpack, unpackPages, type UnpackPool } from "../../../src/io/codecs/unpack-batch.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openFile } from "../../../src/io/node/files.js";
import { unpackWorkers } from "../../../src/io/node/unpack-workers.js";
import { openKdumpGuest } from "../../../src/vmcore/kdump/guest.js";
import { openKdump } from "../../../src/vmcore/kdump/open.js";
import { UnpackedMemory } from "../../../src/vmcore/kdump/unpacked-memory.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import { hasProgram, hasShared, projectRoot, scratch, skipUnless } from "../../shared.js";
import { MemoryFile, modelGuest, pageContents } from "../model.js";
import { KDUMP_FILES, unpackKdump } from "./data.js";

installNodeCodecs();
const { folder, cleanup } = scratch();
afterAll(cleanup);
const program = new URL(`file://${path.join(projectRoot, "dist/io/node/page-worker.js")}`);
const notBuilt = skipUnless(fs.existsSync(program), "dist/ (npm run build)");
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const PAGE = 4096;

/** Unpacks in this thread, as threads do: what the answer is made of is only known later. */
function poolInPlace(): UnpackPool & { readonly codecs: CodecName[] } {
  const codecs: CodecName[] = [];
  return {
    codecs,
    width: 3,
    prepare: (wanted) => void codecs.push(...wanted),
    async unpack({ packed, places, pageSize }) {
      const into = new Uint8Array((places.length / 3) * pageSize).fill(0xee);
      const bytes =
        packed instanceof Uint8Array
          ? packed
          : fs
              .readFileSync(packed.place.fd)
              .subarray(packed.place.offset, packed.place.offset + packed.length);
      await new Promise(setImmediate);
      return unpackPages(bytes, places, pageSize, await loadUnpack(codecs), into) ? into : undefined;
    },
    recycle: (pages) => void pages.fill(0xdd),
    close: async () => undefined,
  };
}

/** All pieces of memory, as one buffer from `from` on; what is not there stays 0x77. */
async function contents(memory: PhysicalMemory, from: number, to: number): Promise<Buffer> {
  const all = Buffer.alloc(to - from, 0x77);
  let next = from;
  for await (const { gpa, length, bytes } of memory.pieces(from, to)) {
    expect(gpa).toBeGreaterThanOrEqual(next);
    if (bytes === undefined) all.fill(0, gpa - from, gpa - from + length);
    else all.set(bytes, gpa - from);
    if (bytes !== undefined) expect(bytes.length).toBe(length);
    next = gpa + length;
  }
  expect(next).toBeLessThanOrEqual(to);
  return all;
}

async function opened(input: ByteSource): Promise<{ map: PageMap; unpacked: UnpackedMemory }> {
  const { memory, pagesOf, codecs } = await openKdump(input, {});
  const pool = poolInPlace();
  pool.prepare(codecs);
  return { map: memory, unpacked: new UnpackedMemory(memory, pagesOf, () => pool, 1) };
}

/** A dump whose pages are of the kinds given, one after another: zeros, text, noise, and pages that are left out. */
async function dumpOf(kinds: readonly string[], compress: PageCompression): Promise<Uint8Array> {
  const bytes = Buffer.concat(kinds.map((kind, frame) => pageOf(kind, frame)));
  const memory = new PageMap(bytesSource(bytes), {});
  for (const [frame, kind] of kinds.entries()) if (kind !== "none") memory.set(10 + frame, 1, frame * PAGE);
  const file = new MemoryFile();
  await createKdumpWriter().write({ ...modelGuest().guest, memory }, file, { compress });
  return file.bytes();
}

function pageOf(kind: string, frame: number): Uint8Array {
  if (kind === "noise") return pageContents(frame, PAGE);
  return new Uint8Array(PAGE).fill(kind === "text" ? 0x41 + (frame % 20) : 0);
}

describe("long walks over a kdump, unpacked in batches", () => {
  const kinds = fc
    .array(fc.tuple(fc.constantFrom("zero", "text", "noise", "none"), fc.integer({ min: 1, max: 40 })), {
      minLength: 1,
      maxLength: 14,
    })
    .map((runs) => runs.flatMap(([kind, count]) => Array<string>(count).fill(kind)));

  it("give what the map gives, whatever the pages and the range", async () => {
    const compressions = fc.constantFrom<PageCompression>("zlib", "lzo", "snappy", "zstd", "none");
    await fc.assert(
      fc.asyncProperty(kinds, compressions, fc.nat(), fc.nat(), async (pages, compress, a, b) => {
        fc.pre(pages.some((kind) => kind !== "none"));
        const { map, unpacked } = await opened(bytesSource(await dumpOf(pages, compress)));
        const end = (pages.length + 20) * PAGE;
        for (const [from, to] of [
          [0, end],
          [Math.min(a % end, b % end), Math.max(a % end, b % end) + 1],
        ] as const) {
          const wanted = await contents(map, from, to);
          expect(Buffer.compare(await contents(unpacked, from, to), wanted)).toBe(0);
        }
        expect(Array.from(unpacked.ranges())).toEqual(Array.from(map.ranges()));
      }),
      { numRuns: 60 },
    );
  });

  it("pass zeros on without contents, many pages at a time", async () => {
    const { unpacked } = await opened(bytesSource(await dumpOf(Array<string>(600).fill("zero"), "zlib")));
    const pieces: { length: number; isZeros: boolean }[] = [];
    for await (const { length, bytes } of unpacked.pieces())
      pieces.push({ length, isZeros: bytes === undefined });
    expect(pieces).toEqual([{ length: 600 * PAGE, isZeros: true }]);
  });

  it("give the pages before a damaged one, then the error that names it", async () => {
    const pages = Array<string>(300).fill("text");
    const bytes = await dumpOf(pages, "zlib");
    const { memory, pagesOf } = await openKdump(bytesSource(bytes), {});
    const { offset, size } = await pagesOf(200).descriptor(200);
    bytes.fill(0xff, offset, offset + size);
    const { unpacked } = await opened(bytesSource(bytes));
    let next = 10 * PAGE;
    const walk = async (): Promise<void> => {
      for await (const piece of unpacked.pieces()) {
        expect(piece.gpa).toBe(next);
        next += piece.length;
      }
    };
    await expect(walk()).rejects.toThrow(FormatError);
    expect(next).toBe(210 * PAGE);
    const one = new Uint8Array(PAGE);
    await expect((async () => memory.read(210 * PAGE, one))()).rejects.toThrow(/zlib data/);
  });

  it("end early without a trace when their consumer does", async () => {
    const { unpacked } = await opened(bytesSource(await dumpOf(Array<string>(900).fill("noise"), "zlib")));
    for await (const { gpa } of unpacked.pieces()) if (gpa > 0) break;
    const first = await contents(unpacked, 0, 20 * PAGE);
    expect(first.subarray(10 * PAGE, 11 * PAGE)).toEqual(Buffer.from(pageOf("noise", 0)));
  });
});

describe.skipIf(notBuilt)("threads that unpack a kdump", () => {
  /** More than a long walk of memory, in a file. */
  async function largeDump(compress: PageCompression): Promise<string> {
    const file = path.join(folder, `large.${compress}`);
    const kinds = Array.from(
      { length: 5000 },
      (_, i) => ["text", "noise", "zero"][Math.floor(i / 7) % 3] ?? "",
    );
    if (!fs.existsSync(file)) fs.writeFileSync(file, await dumpOf(kinds, compress));
    return file;
  }

  it.each(["zlib", "zstd", "lzo", "snappy"] as const)("%s: give the same memory", async (compress) => {
    const file = await largeDump(compress);
    const source = openFile(file);
    const inPlace = await openKdumpGuest(source, {});
    const threaded = await openKdumpGuest(source, { unpackers: unpackWorkers(2, program) });
    const end = 5100 * PAGE;
    const wanted = await contents(inPlace.memory, 0, end);
    for (let round = 0; round < 2; round += 1)
      expect(Buffer.compare(await contents(threaded.memory, 0, end), wanted)).toBe(0);
    await threaded.close?.();
    source.close();
  });

  it("report a file that was cut meanwhile as the calling thread does", async () => {
    const file = path.join(folder, "cut");
    fs.copyFileSync(await largeDump("zlib"), file);
    const source = openFile(file);
    const guest = await openKdumpGuest(source, { unpackers: unpackWorkers(2, program) });
    fs.truncateSync(file, fs.statSync(file).size >> 1);
    await expect(contents(guest.memory, 0, 5100 * PAGE)).rejects.toThrow(
      expect.toSatisfy((error) => error instanceof AbsentError || error instanceof FormatError),
    );
    await guest.close?.();
    source.close();
  });

  it.skipIf(noData).each(Object.keys(KDUMP_FILES).filter((name) => !name.includes("split")))(
    "%s: the same memory as in one thread",
    async (name) => {
      const source = openFile(unpackKdump(name, folder));
      const options = { partial: true };
      const inPlace = await openKdumpGuest(source, options);
      const threaded = await openKdumpGuest(source, { ...options, unpackers: unpackWorkers(2, program) });
      const window = 2 ** 24;
      const windows = new Set<number>();
      for (const { start, end } of inPlace.memory.ranges())
        for (let at = start - (start % window); at < end; at += window) windows.add(at);
      for (const at of windows) {
        const wanted = await contents(inPlace.memory, at, at + window);
        const got = await contents(threaded.memory, at, at + window);
        expect(Buffer.compare(got, wanted), `at ${at}`).toBe(0);
      }
      await threaded.close?.();
      source.close();
    },
  );
});
