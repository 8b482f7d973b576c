import { verifyAs } from "../../verify-as.js";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { FormatError, GuestscopeError } from "../../../src/findings/errors.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openFile } from "../../../src/io/node/files.js";
import { FlattenedSource } from "../../../src/vmcore/kdump/flattened.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { type KdumpInspection } from "../../../src/vmcore/kdump/inspect.js";
import { siblingNames } from "../../../src/vmcore/kdump/split.js";
import { hasProgram, hasShared, rounds, scratch, skipUnless } from "../../shared.js";
import { differences, KDUMP_FILES, kdumpFolder, pagesOf, truthOf, unpackKdump } from "./data.js";

installNodeCodecs();
const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

const open = (input: ByteSource, options = {}): Promise<import("../../../src/guest/image.js").GuestImage> => {
  return kdump.reader.openGuest(input, options);
};

async function findings(input: ByteSource): Promise<{ report: Report; codes: string[] }> {
  const report = new Report(input.name);
  await verifyAs(kdump, input, report);
  return { report, codes: report.findings.map(({ code }) => code) };
}

describe.skipIf(noData)("kdump files of QEMU and makedumpfile", () => {
  for (const name of Object.keys(KDUMP_FILES)) {
    it(`${name} gives its pages`, async () => {
      const file = openFile(unpackKdump(name, folder));
      const head = new Uint8Array(4096);
      await file.read(0, head);
      expect(kdump.matches(head)).toBe(true);
      const guest = await open(file);
      const { pages } = await pagesOf(guest);
      expect(differences(pages, truthOf(name))).toEqual([]);
      expect(guest.arch.name).toBe("x86_64");
      expect(guest.vcpus).toHaveLength(2);
      expect(guest.facts.vmcoreInfo?.text).toMatch(/^(OSRELEASE|[A-Z]+)/);
      file.close();
    });
  }

  it("a set of parts is the whole, whichever is named", async () => {
    for (const n of [1, 2, 3]) unpackKdump(`linux.zlib-d31.split${n}.kdump`, folder);
    const whole = truthOf("linux.zlib-d31.kdump");
    for (const n of [1, 2, 3]) {
      const file = openFile(path.join(folder, `linux.zlib-d31.split${n}.kdump`));
      const guest = await open(file, { openFile: async (name: string) => openFile(name) });
      expect(guest.warnings.filter((w) => w.includes("part"))).toEqual([]);
      expect(differences((await pagesOf(guest)).pages, whole)).toEqual([]);
      await guest.close?.();
      file.close();
    }
  });

  it("tells lost, excluded and other parts' pages apart", async () => {
    const reasons = async (name: string): Promise<[string, number][]> => {
      const guest = await open(openFile(unpackKdump(name, folder)));
      return [...(await pagesOf(guest)).reasons];
    };
    const incomplete = await reasons("linux.zlib-d31.incomplete.kdump");
    expect(Object.fromEntries(incomplete)).toEqual({
      "excluded by dump level 31": 13393,
      "lost: the dump is incomplete": 1824,
    });
    const part = await reasons("linux.zlib-d31.split2.kdump");
    expect(Object.fromEntries(part)).toEqual({
      "excluded by dump level 31": 13393,
      "not in this part of a split dump": 5103 - 1703,
    });
  });

  it("knows the registers that QEMU recorded", async () => {
    const guest = await open(openFile(unpackKdump("tiny-split.zlib.flat", folder)));
    const text = fs.readFileSync(path.join(kdumpFolder, "tiny-split.registers.txt"), "utf8");
    const sets = text.split(/CPU#\d+/).slice(1);
    expect(sets).toHaveLength(2);
    for (const [i, set] of sets.entries()) {
      const registers = guest.vcpus[i]?.registers;
      if (registers?.kind !== "x86") throw new Error("no x86 registers");
      for (const [, name = "", value] of set.matchAll(/\b(R[A-Z0-9]{1,2}) ?=([0-9a-f]{16})/g)) {
        const key = (name === "RFL" ? "rflags" : name.toLowerCase()) as keyof typeof registers.general;
        expect(registers.general[key], name).toBe(BigInt(`0x${value}`));
      }
      for (const [, name = "", value] of set.matchAll(/\b(CR[234])=([0-9a-f]+)/g))
        expect(registers.control[name.toLowerCase()], name).toBe(BigInt(`0x${value}`));
    }
  });

  it("inspects what was recorded of every file", async () => {
    for (const name of Object.keys(KDUMP_FILES)) {
      const input = openFile(unpackKdump(name, folder));
      const { details: seen } = (await kdump.reader.inspect(input, {})) as KdumpInspection;
      const recorded = fs.readFileSync(path.join(kdumpFolder, `${name}.json`), "utf8");
      const truth = [...truthOf(name).values()];
      expect(seen.pages.excluded + seen.pages.otherPart, name).toBe(truth.filter((t) => t === "-").length);
      expect(seen.pages.lost, name).toBe(truth.filter((t) => t === "!").length);
      expect(seen.pages.dumped, name).toBe(truth.filter((t) => t !== "-" && t !== "!").length);
      expect(recorded).toContain(seen.physBase.header);
      expect(seen.flattened !== undefined, name).toBe(name.endsWith(".flat"));
      expect(
        seen.notes.map((note) => note.name),
        name,
      ).toEqual(["CORE", "CORE", "QEMU", "QEMU", "VMCOREINFO"]);
      input.close();
    }
  });

  it("verifies: good files have at most QEMU's phys_base against them", async () => {
    const codes = async (name: string): Promise<string[]> => [
      ...new Set((await findings(openFile(unpackKdump(name, folder)))).codes),
    ];
    expect(await codes("tiny-split.lzo.kdump")).toEqual(["kdump/sub-header/phys-base"]);
    expect(await codes("linux.zlib-d31.flat")).toEqual([]);
    expect(await codes("linux.zlib-d31.split2.kdump")).toEqual(["kdump/split/part"]);
    expect(await codes("linux.zlib-d31.incomplete.kdump")).toEqual([
      "kdump/status/incomplete",
      "kdump/descriptor/lost",
    ]);
  });

  it("a file cut anywhere loses pages, never gives zeros", async () => {
    const name = "linux.zlib-d31.kdump";
    const bytes = new Uint8Array(fs.readFileSync(unpackKdump(name, folder)));
    const truth = truthOf(name);
    for (const size of [3, 463, 4100, 5000, 12_287, 12_288, 40_000, 300_000, bytes.length - 1]) {
      const cut = bytesSource(bytes.subarray(0, size), "cut");
      const { report } = await findings(cut);
      expect(report.valid, `${size}`).toBe(false);
      try {
        const { pages } = await pagesOf(await open(cut));
        for (const [pfn, crc] of pages)
          if (crc !== "!") expect(crc.padStart(8, "0")).toBe(truth.get(pfn)?.padStart(8, "0"));
        expect(pages.size).toBe(truth.size);
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
      }
    }
  });

  it("a flattened file cut anywhere is refused, and with `partial` holds what came through", async () => {
    const name = "tiny-split.zlib.flat";
    const bytes = new Uint8Array(fs.readFileSync(unpackKdump(name, folder)));
    const truth = truthOf(name);
    for (const size of [4000, 4200, 9000, 300_000, 700_000, bytes.length - 16, bytes.length - 1]) {
      const cut = bytesSource(bytes.subarray(0, size), "cut");
      await expect(open(cut)).rejects.toBeInstanceOf(FormatError);
      try {
        const { pages } = await pagesOf(await open(cut, { partial: true }));
        for (const [pfn, crc] of pages)
          if (crc !== "!") expect(crc.padStart(8, "0"), `${size}`).toBe(truth.get(pfn)?.padStart(8, "0"));
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
      }
    }
  });

  it("damage to headers, bitmaps and descriptors is met with findings and errors, nothing else", async () => {
    const bytes = new Uint8Array(fs.readFileSync(unpackKdump("tiny-split.lzo.kdump", folder)));
    // main header, sub-header, notes; some of the bitmaps; descriptors begin behind 2 + 66 blocks
    const place = fc.oneof(
      fc.nat(470),
      fc.integer({ min: 4096, max: 4200 }),
      fc.integer({ min: 4200, max: 6000 }),
      fc.integer({ min: 8192, max: 8192 + 66 * 4096 }),
      fc.integer({ min: 68 * 4096, max: 68 * 4096 + 3088 * 24 }),
    );
    const value = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 6 }), async (changes) => {
        const damaged = bytes.slice();
        for (const [at, to] of changes) damaged[at] = to;
        const input = bytesSource(damaged, "damaged");
        await findings(input);
        try {
          const guest = await open(input, { partial: true });
          for (const range of guest.memory.ranges()) expect(range.end).toBeGreaterThan(range.start);
          await guest.memory.read(0, new Uint8Array(65536));
        } catch (error) {
          expect(error).toBeInstanceOf(GuestscopeError);
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe("flattened dumps", () => {
  const record = (offset: number, bytes: Uint8Array): Uint8Array => {
    const head = new Uint8Array(16);
    new DataView(head.buffer).setBigInt64(0, BigInt(offset));
    new DataView(head.buffer).setBigInt64(8, BigInt(bytes.length));
    return Buffer.concat([head, bytes]);
  };
  const flat = (records: readonly Uint8Array[], end = true): Uint8Array => {
    const head = new Uint8Array(4096);
    head.set(Buffer.from("makedumpfile"));
    head[23] = 1;
    head[31] = 1;
    return Uint8Array.from(
      Buffer.concat([head, ...records, end ? new Uint8Array(16).fill(0xff) : new Uint8Array(0)]),
    );
  };

  it("the last write wins, holes are zeros, any read is right", async () => {
    const write = fc.tuple(fc.nat(300), fc.uint8Array({ minLength: 1, maxLength: 120 }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(write, { maxLength: 12 }),
        fc.nat(420),
        fc.nat(200),
        async (writes, at, size) => {
          const plain = new Uint8Array(Math.max(0, ...writes.map(([to, bytes]) => to + bytes.length)));
          for (const [to, bytes] of writes) plain.set(bytes, to);
          const source = await FlattenedSource.open(
            bytesSource(flat(writes.map(([to, b]) => record(to, b)))),
          );
          expect(source.size).toBe(plain.length);
          const into = new Uint8Array(size);
          const n = await source.read(at, into);
          expect([...into.subarray(0, n)]).toEqual([...plain.subarray(at, at + size)]);
        },
      ),
      { numRuns: rounds(300) },
    );
  });

  it("knows what records cover, and whether the end was there", async () => {
    const parts = [
      record(10, new Uint8Array(10)),
      record(20, new Uint8Array(5)),
      record(40, new Uint8Array(5)),
    ];
    const source = await FlattenedSource.open(bytesSource(flat(parts, false)));
    expect(source.complete).toBe(false);
    expect(source.covers(10, 15)).toBe(true);
    expect(source.covers(9, 2)).toBe(false);
    expect(source.covers(24, 17)).toBe(false);
    expect((await FlattenedSource.open(bytesSource(flat(parts)))).complete).toBe(true);
  });

  it("refuses absurd records", async () => {
    const absurd = flat([]).slice();
    absurd.fill(0x7f, 4096, 4112);
    await expect(FlattenedSource.open(bytesSource(absurd))).rejects.toBeInstanceOf(FormatError);
  });
});

describe("names of split parts", () => {
  it("change the last number first", () => {
    expect(siblingNames("/a1/dump2")[0]).toBe("/a1/dump0");
    expect(siblingNames("/a1/dump2")).not.toContain("/a1/dump2");
    expect(siblingNames("x.split1.kdump")).toContain("x.split3.kdump");
    expect(siblingNames("d.007")).toContain("d.008");
    expect(siblingNames("plain")).toEqual([]);
  });
});
