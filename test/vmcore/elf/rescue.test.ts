import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { X86_64 } from "../../../src/guest/arch/x86.js";
import { FormatError } from "../../../src/findings/errors.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { DAMAGE_KINDS, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { fixtures } from "../../shared.js";
import { verifyAs } from "../../verify-as.js";
import { SparseMemorySink, syntheticGuest } from "../synthetic.js";
import { headOf, knownElf } from "./rescued-file.js";

const present = (start: number, end: number): { start: number; end: number; presence: "present" } => ({
  start,
  end,
  presence: "present",
});

/** A small dump of our own writer. */
async function written(): Promise<Buffer> {
  const sink = new SparseMemorySink();
  const ranges = [
    present(0, 0x3000),
    present(0x10000, 0x15000),
    present(0x40000, 0x41000),
    present(0x100000, 0x108000),
    present(0x1_0000_0000, 0x1_0000_4000),
  ];
  await elfWriter.write(syntheticGuest(ranges, { arch: X86_64 }), sink, {});
  return Buffer.from(sink.bytes);
}

const machine = (name: string): Buffer =>
  zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "vmcore/machines", `${name}.elf.gz`)));

describe("an ELF vmcore whose headers are damaged", () => {
  it("a bit of any byte of them may be another", async () => {
    const bytes = await written();
    const file = await knownElf(bytes);
    const next = randoms(5);
    const head = 64 + 6 * 56;
    for (let at = 0; at < head; at += 3) await expectRescue(file, "flip", at, 1, next);
  });

  it.each(["aarch64", "arm", "i386", "ppc64", "s390x"])("QEMU's of %s", async (name) => {
    const file = await knownElf(machine(name));
    const head = await headOf(file.bytes);
    const next = randoms(name.length);
    for (const kind of DAMAGE_KINDS)
      for (let round = 0; round < 2; round += 1)
        await expectRescue(file, kind, 16 + Math.floor(next() * head), kind === "flip" ? 1 : 40, next);
  });

  it("is read as it is where nothing is damaged", async () => {
    const bytes = machine("s390x");
    const [whole, partial] = await Promise.all(
      [false, true].map((isPartial) =>
        elfVmcore.reader.openGuest(bytesSource(bytes), { partial: isPartial, findKernel: false }),
      ),
    );
    expect(partial?.rescue).toBeUndefined();
    expect(partial?.warnings).toEqual(whole?.warnings);
    expect([...(partial?.memory.ranges() ?? [])]).toEqual([...(whole?.memory.ranges() ?? [])]);
    expect((await verifyAs(elfVmcore, bytesSource(bytes))).findings.map(({ code }) => code)).toEqual([
      "vmcore/elf/header-size",
    ]);
  });

  it("nor where notes are after the contents, with some of names of their own", async () => {
    const bytes = await written();
    const [offset, size] = [8, 32].map((at) => Number(bytes.readBigUInt64LE(64 + at)));
    // header of a note without a name, of a type and a descriptor of its own
    const own = Buffer.alloc(16);
    own.writeUInt32LE(4, 4);
    const notes = Buffer.concat([bytes.subarray(offset, (offset ?? 0) + (size ?? 0)), own, own]);
    const moved = Buffer.concat([bytes, notes]);
    moved.writeBigUInt64LE(BigInt(bytes.length), 64 + 8);
    moved.writeBigUInt64LE(BigInt(notes.length), 64 + 32);
    const guest = await openGuest(bytesSource(moved), { partial: true });
    expect(guest.rescue).toBeUndefined();
    expect(guest.warnings).toEqual((await openGuest(bytesSource(bytes))).warnings);
  });

  it("is known by the rest of it, and refused unless what is intact is asked for", async () => {
    const bytes = machine("ppc64");
    const page = bytes.subarray(bytes.length - 11 - 4096, bytes.length - 11);
    for (const [from, to] of [
      [0, 4],
      [0, 64],
      [4, 5],
      [16, 18],
      [32, 40],
      [56, 58],
    ] as const) {
      const damaged = Buffer.from(bytes);
      damaged.fill(0xff, from, to);
      await expect(openGuest(bytesSource(damaged)), `${from}`).rejects.toBeInstanceOf(FormatError);
      const guest = await openGuest(bytesSource(damaged), { partial: true });
      expect(guest.rescue?.lost.map(({ what }) => what)).toEqual(["the ELF header, made anew"]);
      expect(guest.arch.name).toBe("ppc64");
      const into = Buffer.alloc(4096);
      await guest.memory.read(0x20_0000 - 4096, into);
      expect(into.equals(page)).toBe(true);
    }
  });

  it("an address beyond any machine costs its segment alone", async () => {
    const bytes = await written();
    const file = await knownElf(bytes);
    for (let at = 64 + 2 * 56 + 24; at < 64 + 2 * 56 + 32; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((bytes[at] ?? 0) ^ 0x40, at);
      const guest = await file.open(damaged);
      const into = Buffer.alloc(4096);
      for (const gpa of [0x1000, 0x40000, 0x100000, 0x1_0000_3000])
        expect(await guest.memory.read(gpa, into), `${at} 0x${gpa.toString(16)}`).toBe(4096);
    }
  });

  it("memory whose address nothing says is said to be there, and is not given", async () => {
    const bytes = await written();
    // the last header but one, all of it
    bytes.fill(0xff, 64 + 4 * 56, 64 + 5 * 56);
    const guest = await openGuest(bytesSource(bytes), { partial: true });
    expect(guest.unplaced).toMatchObject([{ size: 0x8000, reason: { kind: "damaged" } }]);
    expect(guest.rescue?.lost.map(({ what }) => what)).toEqual([
      "program header 4",
      "memory whose address is unknown",
    ]);
    const report = await verifyAs(elfVmcore, bytesSource(bytes));
    expect(report.findings.map(({ code }) => code)).toContain("vmcore/elf/table");
  });

  it.each([
    ["inserted into", 777],
    ["missing from", -333],
  ])(
    "bytes %s its contents: QEMU's names at the end show it, and all memory is doubtful",
    async (_, shift) => {
      const bytes = machine("s390x");
      const at = bytes.length >> 1;
      const shifted = Buffer.concat([
        bytes.subarray(0, at),
        Buffer.alloc(Math.max(0, shift), 0x5a),
        bytes.subarray(at - Math.min(0, shift)),
      ]);
      const guest = await openGuest(bytesSource(shifted), { partial: true });
      expect(guest.rescue?.doubtful).toEqual([
        {
          start: 0,
          // what the file ends before is absent
          end: shift > 0 ? 0x20_0000 : expect.closeTo(0x20_0000 + shift, -2),
          why: expect.stringContaining(`${Math.abs(shift)} bytes`),
        },
      ]);
      expect(guest.warnings.join()).toMatch(/doubtful: memory 0x0 to 0x[0-9a-f]+ may be shifted/);
      const report = await verifyAs(elfVmcore, bytesSource(shifted));
      expect(report.findings.map(({ code }) => code)).toContain("vmcore/elf/shifted");
    },
  );

  it("bytes after the contents are too many, unless they are padding", async () => {
    const bytes = await written();
    const longer = Buffer.concat([bytes.subarray(0, -9000), Buffer.alloc(100, 0x5a), bytes.subarray(-9000)]);
    const { rescue } = await openGuest(bytesSource(longer), { partial: true });
    expect(rescue).toMatchObject({
      lost: [],
      doubtful: [{ why: expect.stringContaining("100 bytes follow") }],
    });
    const padded = Buffer.concat([bytes, Buffer.alloc(-bytes.length & 511)]);
    for (const whole of [bytes, padded, Buffer.concat([padded, Buffer.alloc(512)])]) {
      expect((await openGuest(bytesSource(whole), { partial: true })).rescue).toBeUndefined();
      const { findings } = await verifyAs(elfVmcore, bytesSource(whole));
      expect(findings.map(({ code }) => code)).not.toContain("vmcore/elf/shifted");
    }
  });
});
