import { verifyAs } from "../../verify-as.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { X86_64 } from "../../../src/guest/arch/x86.js";
import { PageMap } from "../../../src/guest/page-map.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { openGuest } from "../../../src/open/open.js";
import { lime } from "../../../src/vmcore/lime/format.js";
import { type LimeInspection } from "../../../src/vmcore/lime/inspect.js";
import { limeHeader } from "../../../src/vmcore/lime/layout.js";
import { limeWriter } from "../../../src/vmcore/lime/write.js";

/** Contents that tell their address. */
const byteAt = (gpa: number): number => (gpa * 31 + (gpa >> 12)) % 256;
const contents = (start: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => byteAt(start + i));

/** A dump of ranges that begin and end anywhere. */
function dump(...ranges: readonly (readonly [start: number, length: number])[]): Uint8Array {
  const parts = ranges.flatMap(([start, length]) => [
    limeHeader.encode(
      {
        magic: 0x4c694d45,
        version: 1,
        s_addr: start,
        e_addr: start + length - 1,
        reserved: new Uint8Array(8),
      },
      "little",
    ),
    contents(start, length),
  ]);
  return new Uint8Array(Buffer.concat(parts));
}

async function findings(bytes: Uint8Array): Promise<readonly (readonly [code: string, offset: number])[]> {
  const report = new Report("dump");
  await verifyAs(lime, bytesSource(bytes), report);
  return report.findings.map(({ code, offset }) => [code, offset]);
}

/** All that is there, address by address. */
async function memoryOf(guest: GuestImage): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for await (const { gpa, length, bytes } of guest.memory.pieces())
    for (let i = 0; i < length; i += 1) found.set(gpa + i, bytes?.[i] ?? 0);
  return found;
}

describe("LiME dumps", () => {
  it("are read with ranges as a machine's map has them", async () => {
    // what Linux says of a PC: its first range ends within a page
    const bytes = dump([0x1000, 0x9ec00], [0x100000, 0x3000]);
    expect(await findings(bytes)).toEqual([]);
    const guest = await openGuest(bytesSource(bytes));
    expect([...guest.memory.ranges()]).toEqual([
      { start: 0x1000, end: 0x9fc00, presence: "present" },
      { start: 0x100000, end: 0x103000, presence: "present" },
    ]);
    const part = new Uint8Array(0x2000);
    expect(await guest.memory.read(0x9f000, part)).toBe(0xc00);
    expect(part.subarray(0, 0xc00)).toEqual(contents(0x9f000, 0xc00));
    expect(await guest.memory.read(0x100ff0, part)).toBe(0x2000);
    expect(part).toEqual(contents(0x100ff0, 0x2000));
    expect(guest.warnings).toEqual(["a LiME dump doesn't say what CPU it is of: taken for x86_64"]);
    const seen = (await lime.reader.inspect(bytesSource(bytes), {})) as LimeInspection;
    expect(seen).toMatchObject({
      kind: "lime",
      details: { ranges: 2 },
      memory: { present: 0xa1c00, absent: 0 },
    });
  });

  it("that we write come back byte for byte", async () => {
    const source = bytesSource(contents(0, 0x8000));
    const memory = new PageMap(source);
    memory.set(3, 2, 0x1000);
    memory.zero(5, 1);
    memory.set(0x40, 4, 0x4000);
    const facts = { origin: "test", source: "test" };
    const guest: GuestImage = { arch: X86_64, memory, vcpus: [], facts, warnings: [] };
    const write = async (one: GuestImage): Promise<Uint8Array> => {
      const sink = new MemorySink();
      await limeWriter.write(one, sink, {});
      return sink.bytes();
    };
    const bytes = await write(guest);
    const again = await openGuest(bytesSource(bytes));
    expect(await memoryOf(again)).toEqual(await memoryOf(guest));
    expect(await write(again)).toEqual(bytes);
  });

  it.each([
    ["NUMBER(kimage_voffset)=0xffff7fffb8000000", "aarch64"],
    ["SYMBOL(_stext)=c1000000", "i386"],
    ["SYMBOL(_stext)=ffffffff81000000", "x86_64"],
  ])("are of the processor that VMCOREINFO's %s says", async (line, arch) => {
    const text = ["OSRELEASE=6.1.0", "PAGESIZE=4096", line, ""].join("\n");
    const bytes = dump([0x1000, 0x3000]);
    bytes.fill(0, 0x1020, 0x2020);
    bytes.set(Buffer.from(text), 0x1020);
    const guest = await openGuest(bytesSource(bytes));
    expect(guest.facts.vmcoreInfo).toEqual({ text, gpa: 0x2000 });
    expect(guest.arch.name).toBe(arch);
    expect(guest.warnings).toEqual([]);
  });

  it("cut anywhere are refused or have what is missing absent", async () => {
    const bytes = dump([0x1000, 0x400], [0x2000, 0x300]);
    const whole = await memoryOf(await openGuest(bytesSource(bytes)));
    const nearHeader = (size: number) => size <= 40 || Math.abs(size - 0x430) <= 24;
    for (let size = 8; size < bytes.length; size += nearHeader(size) ? 1 : 13) {
      const cut = bytesSource(bytes.slice(0, size));
      const inHeader = size < 32 || (size > 0x420 && size < 0x440);
      const found = await findings(bytes.slice(0, size));
      if (size === 0x420) expect(found).toEqual([]);
      else expect(found.map(([code]) => code)).toEqual([`vmcore/lime/${inHeader ? "header" : "truncated"}`]);
      if (inHeader) await expect(openGuest(cut)).rejects.toThrow(/bytes before a range's header does/);
      const partial = await openGuest(cut, { partial: true });
      const there = await memoryOf(partial);
      for (const [gpa, byte] of there) expect(byte).toBe(whole.get(gpa));
      // all that was announced is there or absent, down to the unit that ranges are of
      const announced = size < 32 ? 0 : size < 0x440 ? 0x400 : 0x700;
      const ranges = [...partial.memory.ranges()];
      expect(ranges.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(announced);
    }
  });

  it("with headers that are none are read on after them, and say where", async () => {
    const bytes = dump([0x1000, 0x400], [0x2000, 0x300], [0x3000, 0x100]);
    const second = 0x420;
    // addresses that agree with the contents' length make a header whole again
    for (const [at, value, said, size] of [
      [0, 0, "no range begins here", 0x800],
      [4, 2, "version 2 of the format is not known", 0x800],
      [8, 0xff, "no memory has addresses", 0x500],
      [23, 0xff, "no memory has addresses", 0x500],
    ] as const) {
      const bad = bytes.slice();
      bad.fill(value, second + at, second + at + 1);
      if (at === 8) bad.fill(0xff, second + 8, second + 16);
      expect(await findings(bad)).toEqual([["vmcore/lime/header", second]]);
      await expect(openGuest(bytesSource(bad))).rejects.toThrow(said);
      const guest = await openGuest(bytesSource(bad), { partial: true });
      expect((await memoryOf(guest)).size).toBe(size);
      expect(guest.warnings[0]).toContain(said);
    }
  });

  it("with ranges over each other are told, and the later one counts", async () => {
    const bytes = dump([0x1000, 0x400], [0x1200, 0x400]);
    bytes.fill(0x55, 0x440);
    expect(await findings(bytes)).toEqual([["vmcore/lime/overlap", 0x420]]);
    const memory = await memoryOf(await openGuest(bytesSource(bytes)));
    expect([memory.get(0x11ff), memory.get(0x1200), memory.get(0x15ff)]).toEqual([
      byteAt(0x11ff),
      0x55,
      0x55,
    ]);
  });

  it("of any bytes end in findings or errors of ours", async () => {
    const bytes = dump([0x1000, 0x400], [0x2000, 0x300]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes.length - 9), fc.nat(255)), { minLength: 1, maxLength: 12 }),
        fc.constantFrom(0, 0x420),
        async (changes, base) => {
          const bad = bytes.slice();
          for (const [at, value] of changes) bad[at < 64 ? base + (at % 32) : at + 8] = value;
          if (!lime.matches(bad)) return;
          await findings(bad);
          const source = bytesSource(bad);
          for (const partial of [false, true]) {
            try {
              for (const { start, end } of (await openGuest(source, { partial })).memory.ranges())
                expect(start).toBeLessThan(end);
            } catch (error) {
              expect(error).toBeInstanceOf(GuestscopeError);
            }
          }
        },
      ),
    );
  });
});
