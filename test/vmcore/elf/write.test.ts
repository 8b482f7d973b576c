import { AARCH64 } from "../../../src/guest/arch/arm.js";
import { because } from "../../guest/absent-reason.js";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ElfFile } from "../../../src/elf/file.js";
import { PT_LOAD, PT_NOTE } from "../../../src/elf/layout.js";
import { AARCH64_BE } from "../../../src/guest/arch/arm.js";
import { I386, X86_64 } from "../../../src/guest/arch/x86.js";
import type { MemoryRange, Presence } from "../../../src/guest/memory.js";
import type { AddressRange } from "../../../src/guest/output-format.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { elfWriter, layOutElf } from "../../../src/vmcore/elf/write.js";
import { limeHeader } from "../../../src/vmcore/lime/layout.js";
import { limeWriter } from "../../../src/vmcore/lime/write.js";
import { EMPTY_NOTE } from "../../../src/vmcore/notes.js";
import { rawWriter } from "../../../src/vmcore/raw/write.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { patternAt, SparseMemorySink, syntheticGuest } from "../synthetic.js";

const memoryRanges = fc
  .array(
    fc.record({
      gap: fc.nat(0x9000),
      length: fc.integer({ min: 1, max: 0x30000 }),
      presence: fc.constantFrom<Presence>("present", "present", "zero", "absent"),
    }),
    { maxLength: 6 },
  )
  .map((parts) => {
    let at = 0;
    return parts.map(({ gap, length, presence }): MemoryRange => {
      const start = at + gap;
      at = start + length;
      return { start, end: at, presence, ...(presence === "present" ? {} : { reason: because("so") }) };
    });
  });

const expected = (range: MemoryRange, gpa: number): number =>
  range.presence === "zero" ? 0 : patternAt(gpa);

/** Bytes of guest memory out of a dump, by its PT_LOADs. */
async function readBack(bytes: Uint8Array): Promise<Map<number, { offset: number; size: number }>> {
  const elf = await ElfFile.open(bytesSource(bytes));
  const loads = new Map<number, { offset: number; size: number }>();
  for (let i = 0; i < elf.segments.length; i += 1) {
    const segment = elf.segments.at(i);
    if (segment.p_type !== PT_LOAD) continue;
    expect(segment.p_filesz).toBe(segment.p_memsz);
    expect(segment.p_offset + segment.p_filesz).toBeLessThanOrEqual(bytes.length);
    expect(segment.p_offset % 4096).toBe(Number(segment.p_paddr) % 4096);
    loads.set(Number(segment.p_paddr), { offset: segment.p_offset, size: segment.p_filesz });
  }
  return loads;
}

/** Pages in a row as one run. */
function merged(pages: readonly { readonly start: number; readonly end: number }[]): AddressRange[] {
  const runs: { start: number; end: number }[] = [];
  for (const { start, end } of pages) {
    const last = runs.at(-1);
    if (last?.end === start) last.end = end;
    else runs.push({ start, end });
  }
  return runs;
}

describe("ELF writer", () => {
  it("writes all that is there and nothing that is not, to files and pipes alike", async () => {
    await fc.assert(
      fc.asyncProperty(memoryRanges, async (ranges) => {
        const guest = syntheticGuest(ranges);
        const random = new SparseMemorySink();
        const report = await elfWriter.write(guest, random, {});
        const stream = new MemorySink();
        await elfWriter.write(guest, stream, {});
        expect(Buffer.compare(stream.bytes(), random.bytes)).toBe(0);
        expect(report.size).toBe(random.bytes.length);

        const loads = await readBack(random.bytes);
        const readable = ranges.filter((range) => range.presence !== "absent");
        const bytes = (all: readonly MemoryRange[]): number =>
          all.reduce((sum, range) => sum + range.end - range.start, 0);
        expect([...loads.values()].reduce((sum, load) => sum + load.size, 0)).toBe(bytes(readable));
        expect(report.present + report.zero).toBe(bytes(readable));
        expect(report.missing).toEqual(ranges.filter((range) => range.presence === "absent"));
        for (const range of readable) {
          for (const gpa of [range.start, Math.floor((range.start + range.end) / 2), range.end - 1]) {
            const [start, load] = [...loads].find(([s, l]) => s <= gpa && gpa < s + l.size) ?? [0, undefined];
            expect(load).toBeDefined();
            expect(random.bytes[(load?.offset ?? 0) + gpa - start]).toBe(expected(range, gpa));
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it("leaves long zeros as holes", async () => {
    const sink = new SparseMemorySink();
    const guest = syntheticGuest([
      { start: 0, end: 0x4000, presence: "present" },
      { start: 0x4000, end: 0x100_0000, presence: "zero" },
    ]);
    const { size } = await elfWriter.write(guest, sink, {});
    expect(size).toBeGreaterThan(0x100_0000);
    expect(sink.written).toBeLessThan(0x6000);
  });

  it("keeps to a range", async () => {
    const sink = new SparseMemorySink();
    const guest = syntheticGuest([{ start: 0x1000, end: 0x9000, presence: "present" }]);
    const report = await elfWriter.write(guest, sink, { range: { start: 0x2000, end: 0x4000 } });
    expect(report.present).toBe(0x2000);
    expect([...(await readBack(sink.bytes)).keys()]).toEqual([0x2000]);
  });

  it("is 32-bit for i386 below 4 GiB, 64-bit above", async () => {
    const ident = async (end: number, arch = I386): Promise<number | undefined> => {
      const sink = new SparseMemorySink();
      await elfWriter.write(
        syntheticGuest([{ start: end - 0x1000, end, presence: "zero" }], { arch }),
        sink,
        {},
      );
      return sink.bytes[4];
    };
    expect(await ident(0x10_0000)).toBe(1);
    expect(await ident(2 ** 32)).toBe(1);
    expect(await ident(2 ** 32 + 0x1000)).toBe(2);
    expect(await ident(0x10_0000, X86_64)).toBe(2);
  });

  it("puts the number of program headers into section 0 when e_phnum can't hold it", async () => {
    const runs = Array.from({ length: 70_000 }, (_, i) => ({ start: i * 0x2000, end: i * 0x2000 + 8 }));
    const plan = layOutElf({
      arch: X86_64,
      bits: 64,
      notes: [EMPTY_NOTE],
      runs,
      aliases: [],
      alignment: 4096,
      flags: 7,
    });
    const file = new Uint8Array(plan.size);
    file.set(plan.head);
    const elf = await ElfFile.open(bytesSource(file));
    expect(elf.header.e_phnum).toBe(0xffff);
    expect(elf.segments.length).toBe(70_001);
    expect(elf.segments.type[0]).toBe(PT_NOTE);
    expect(elf.segments.at(70_000).p_paddr).toBe(BigInt(runs.at(-1)?.start ?? 0));
    const [note] = await elf.notes();
    expect(note?.name).toBe("NONE");
  });

  it("maps the kernel's text over contents already there", () => {
    const plan = layOutElf({
      arch: X86_64,
      bits: 64,
      notes: [],
      runs: [
        { start: 0, end: 0x3000 },
        { start: 0x5000, end: 0x9000 },
      ],
      aliases: [{ va: 0xffff_ffff_8100_0000n, gpa: 0x2000, length: 0x4000 }],
      alignment: 4096,
      flags: 7,
    });
    const view = new DataView(plan.head.buffer);
    expect(view.getUint16(56, true)).toBe(6);
    const segment = (i: number): bigint[] =>
      [8, 16, 24, 32].map((at) => view.getBigUint64(64 + i * 56 + at, true));
    const [first, second] = plan.runs;
    expect(segment(2)).toEqual([
      BigInt((first?.offset ?? 0) + 0x2000),
      0xffff_ffff_8100_0000n,
      0x2000n,
      0x1000n,
    ]);
    expect(segment(3)).toEqual([BigInt(second?.offset ?? 0), 0x5000n, 0x5000n, 0x1000n]);
    expect(segment(4)).toEqual([BigInt(second?.offset ?? 0), 0xffff_ffff_8100_3000n, 0x5000n, 0x1000n]);
    expect(segment(5)).toEqual([BigInt(second?.offset ?? 0) + 0x1000n, 0x6000n, 0x6000n, 0x3000n]);
  });

  it("takes memory and mappings in sixty thousand pieces each in no time", () => {
    const count = 60_000;
    const runs = Array.from({ length: count }, (_, i) => ({ start: i * 0x2000, end: i * 0x2000 + 0x1000 }));
    const aliases = runs.map(({ start }) => ({
      va: 0xffff_8000_0000_0000n + BigInt(start),
      gpa: start,
      length: 0x1000,
    }));
    const start = process.cpuUsage();
    const plan = layOutElf({ arch: AARCH64, bits: 64, notes: [], runs, aliases, alignment: 4096, flags: 7 });
    const { user, system } = process.cpuUsage(start);
    // by comparing each with each: more than a minute
    expect((user + system) / 1e6).toBeLessThan(10);
    // section 0's sh_info counts program headers
    expect(new DataView(plan.head.buffer).getUint32(64 + 44, true)).toBe(1 + 2 * count);
  });

  it("has segments of which the last that begins at or below an address holds it, if any does", () => {
    const pages = fc.uniqueArray(fc.nat({ max: 200 }), { minLength: 1, maxLength: 60 });
    const spans = fc.array(fc.tuple(fc.nat({ max: 200 }), fc.integer({ min: 1, max: 60 })), { maxLength: 4 });
    fc.assert(
      fc.property(pages, spans, (present, mapped) => {
        const sorted = present.toSorted((a, b) => a - b);
        const runs = sorted.map((page) => ({ start: page * 4096, end: (page + 1) * 4096 }));
        const aliases = mapped.map(([page, count], i) => ({
          va: 0xffff_ffff_8000_0000n + BigInt(i << 24),
          gpa: page * 4096,
          length: count * 4096,
        }));
        const plan = layOutElf({
          arch: X86_64,
          bits: 64,
          notes: [],
          runs: merged(runs),
          aliases,
          alignment: 4096,
          flags: 7,
        });
        const view = new DataView(plan.head.buffer);
        const segments = Array.from({ length: view.getUint16(56, true) - 1 }, (_, i) => ({
          offset: Number(view.getBigUint64(64 + (i + 1) * 56 + 8, true)),
          start: Number(view.getBigUint64(64 + (i + 1) * 56 + 24, true)),
          size: Number(view.getBigUint64(64 + (i + 1) * 56 + 32, true)),
        }));
        expect(segments.map(({ start }) => start)).toEqual(
          segments.map(({ start }) => start).toSorted((a, b) => a - b),
        );
        for (const page of sorted) {
          const at = page * 4096;
          const last = segments.findLast(({ start }) => start <= at);
          const run = plan.runs.find(({ start, end }) => start <= at && at < end);
          expect(last === undefined ? undefined : last.start + last.size > at).toBe(true);
          expect((last?.offset ?? 0) + at - (last?.start ?? 0)).toBe(
            (run?.offset ?? 0) + at - (run?.start ?? 0),
          );
        }
      }),
    );
  });

  const missing = ["readelf", "eu-readelf", "eu-elflint"].filter((program) => !hasProgram(program));
  it.skipIf(skipUnless(missing.length === 0, "readelf, eu-readelf and eu-elflint"))(
    "is accepted by readelf, eu-readelf and eu-elflint",
    async () => {
      const { folder, cleanup } = scratch();
      try {
        for (const arch of [X86_64, I386, AARCH64_BE]) {
          const file = path.join(folder, `${arch.name}.elf`);
          const sink = new SparseMemorySink();
          const guest = syntheticGuest([{ start: 0, end: 0x5000, presence: "present" }], { arch });
          await elfWriter.write(guest, sink, {});
          fs.writeFileSync(file, sink.bytes);
          expect(execFileSync("readelf", ["-Wln", file], { encoding: "utf8" })).toContain("GUESTSCOPE");
          expect(execFileSync("eu-readelf", ["-ln", file], { encoding: "utf8" })).toContain("LOAD");
          const lint = spawnSync("eu-elflint", ["--gnu-ld", file], { encoding: "utf8" });
          const complaints = `${lint.stdout}${lint.stderr}`.split("\n").filter((line) => line !== "");
          // what every guest's dump has: QEMU, VMCOREINFO and NONE are notes of type 0
          const other = complaints.filter((line) => !/unknown core file note type 0 at/.test(line));
          expect(other.filter((line) => line !== "No errors")).toEqual([]);
        }
      } finally {
        cleanup();
      }
    },
  );
});

describe("raw writer", () => {
  it("puts each byte at its address", async () => {
    const ranges: MemoryRange[] = [
      { start: 0x1000, end: 0x3800, presence: "present" },
      { start: 0x6000, end: 0x7000, presence: "absent", reason: because("so") },
      { start: 0x8000, end: 0x9000, presence: "present" },
    ];
    const sink = new MemorySink();
    const report = await rawWriter.write(syntheticGuest(ranges), sink, {});
    const bytes = sink.bytes();
    expect(bytes.length).toBe(0x9000);
    expect(report).toMatchObject({ present: 0x3800, absent: 0x1000, size: 0x9000 });
    const there = (gpa: number): boolean =>
      ranges.some((r) => r.presence === "present" && r.start <= gpa && gpa < r.end);
    expect(bytes.every((byte, gpa) => byte === (there(gpa) ? patternAt(gpa) : 0))).toBe(true);
  });
});

describe("LiME writer", () => {
  it("writes a header and the contents of each range", async () => {
    const sink = new MemorySink();
    const guest = syntheticGuest([
      { start: 0x1000, end: 0x3000, presence: "present" },
      { start: 0x8000, end: 0x9000, presence: "zero" },
    ]);
    const { size } = await limeWriter.write(guest, sink, {});
    const bytes = sink.bytes();
    expect(size).toBe(bytes.length);
    expect(bytes.length).toBe(2 * limeHeader.size + 0x3000);
    expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe("EMiL");
    expect(limeHeader.decode(bytes, "little")).toMatchObject({ version: 1, s_addr: 0x1000, e_addr: 0x2fff });
    expect(bytes[limeHeader.size]).toBe(patternAt(0x1000));
    const second = bytes.subarray(limeHeader.size + 0x2000);
    expect(limeHeader.decode(second, "little")).toMatchObject({ s_addr: 0x8000, e_addr: 0x8fff });
    expect(second.subarray(limeHeader.size).every((byte) => byte === 0)).toBe(true);
  });
});
