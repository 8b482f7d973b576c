import * as path from "node:path";
import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { selectMemory } from "../../../src/guest/selection.js";
import { bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { openGuest, verify } from "../../../src/open/open.js";
import { latin1 } from "../../../src/binary/layout.js";
import { formatLogRecord } from "../../../src/linux/log/format.js";
import { logSourceOf } from "../../../src/linux/log/kernel-log.js";
import { readLog } from "../../../src/linux/log/read.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { expectX86, printedRegisters } from "./samples.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const data = path.join(sharedData, "qemu11");
const skip = skipUnless(
  hasShared && fs.existsSync(data) && hasProgram("zstd"),
  "shared data of QEMU 11, or zstd",
);

interface Meta {
  readonly files: Readonly<Record<string, { readonly stored: string; readonly patch_from?: string }>>;
}

/** A file of a case, unpacked, with what it is a difference to. */
function unpacked(name: string, file: string): string {
  const meta = JSON.parse(fs.readFileSync(path.join(data, name, "meta.json"), "utf8")) as Meta;
  const { stored = "", patch_from: from } = meta.files[file] ?? {};
  const [base, other] = from?.split(": ").toReversed() ?? [];
  const patchFrom = base === undefined ? {} : { patchFrom: unpacked(other ?? name, base) };
  return unzstd(path.join(data, name, stored), folder, { name: `${name}-${file}`, ...patchFrom });
}

const bytesOf = (name: string, file: string): Uint8Array =>
  new Uint8Array(fs.readFileSync(unpacked(name, file)));

describe.skipIf(skip)("streams of QEMU 11", () => {
  it.each([
    ["arm-amax-mapped", "aarch64 with every extension, mapped-ram"],
    ["lv-raw", "virsh save, raw", "save"],
    ["lv-sparse", "virsh save, sparse: mapped-ram in libvirt's envelope", "save"],
    ["live-bgsnap", "a background snapshot, RAM without END"],
    ["pc-dirtybitmaps-none", "dirty-bitmaps without bitmaps"],
    ["pc-fileoff", "a stream at an offset"],
    ["linux-q35-la57", "Linux 7.2 with five levels of page tables"],
    ["riscv64", "with the mask ROM that RISC-V machines start from"],
  ])("%s (%s) is valid and has the memory of QEMU's own dump", async (name, _, file = "stream.qevm") => {
    const bytes = bytesOf(name, file);
    const { report } = await verify(bytesSource(bytes));
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
    if (name !== "pc-fileoff") {
      const piped = await verify(streamOf(bytesSource(bytes)));
      expect(piped.report.findings).toEqual(report.findings);
    }
    const guest = await openGuest(bytesSource(bytes));
    const reference = await openGuest(bytesSource(bytesOf(name, "ref.vmcore")));
    expect(selectMemory(guest).absent).toBe(0);
    const [ours, theirs] = [new Uint8Array(4096), new Uint8Array(4096)];
    let pages = 0;
    for (const { start, end } of reference.memory.ranges())
      for (let gpa = start; gpa < end; gpa += 4096) {
        const size = Math.min(4096, end - gpa);
        const n = await guest.memory.read(gpa, ours.subarray(0, size));
        await reference.memory.read(gpa, theirs.subarray(0, size));
        if (n !== size || Buffer.compare(ours.subarray(0, size), theirs.subarray(0, size)) !== 0)
          expect.fail(`page 0x${gpa.toString(16)}: ${n} bytes`);
        pages += 1;
      }
    expect(pages).toBeGreaterThan(1000);
  });

  it("linux-q35-la57: registers, VMCOREINFO, marks in a tmpfs and the log are those of the guest", async () => {
    const bytes = bytesOf("linux-q35-la57", "stream.qevm");
    const guest = await openGuest(bytesSource(bytes));
    const printed = printedRegisters(path.join(data, "linux-q35-la57", "registers.txt"));
    expect(expectX86(guest.vcpus, printed)).toBeGreaterThanOrEqual(66);
    expect(guest.facts.vmcoreInfo?.text).toMatch(/^OSRELEASE=7\.2\.13\+deb14-cloud-amd64$/m);
    expect(guest.facts.vmcoreInfo?.text).toMatch(/^NUMBER\(pgtable_l5_enabled\)=1$/m);
    // five levels: the direct map begins in the lowest part of the upper half
    expect(guest.facts.kernelLayout?.directMap ?? 0n).toBeLessThan(0xffff_8000_0000_0000n);
    const marks = new Set<string>();
    for await (const { bytes: piece } of guest.memory.pieces())
      for (const [mark] of latin1(piece ?? new Uint8Array(0)).matchAll(/LABMARK-\d+-0123456789abcdef/g))
        marks.add(mark);
    // one mark goes on in the file's next page, which is elsewhere in memory
    expect(marks.size).toBeGreaterThanOrEqual(199);
    expect(marks.size).toBeLessThanOrEqual(200);
    const log = gunzipText(path.join(data, "linux-q35-la57", "dmesg.txt.gz"))
      .trimEnd()
      .split("\n");
    expect(log.join("\n")).toContain("QLAB11 kernel log mark");
    const lines: string[] = [];
    for await (const record of readLog(await logSourceOf(guest), (_, message) => expect.fail(message)))
      lines.push(...(formatLogRecord(record)?.split("\n") ?? []));
    expect(lines).toEqual(log);
  });

  it("dump-s390x: ELF and kdumps, flattened and plain, are the same guest", async () => {
    const [elf, ...others] = ["dump.elf", "dump.kdump-zlib.flat", "dump.kdump-raw-zlib"].map((file) =>
      bytesSource(bytesOf("dump-s390x", file)),
    );
    if (elf === undefined) return expect.unreachable();
    const reference = await openGuest(elf);
    expect([reference.arch.name, reference.arch.order]).toEqual(["s390x", "big"]);
    for (const other of others) {
      const guest = await openGuest(other);
      expect(guest.arch).toEqual(reference.arch);
      expect(guest.vcpus.map(({ registers }) => registers)).toEqual(
        reference.vcpus.map(({ registers }) => registers),
      );
      const [ours, theirs] = [new Uint8Array(65536), new Uint8Array(65536)];
      for (const { start, end } of reference.memory.ranges())
        for (let gpa = start; gpa < end; gpa += 65536) {
          const size = Math.min(65536, end - gpa);
          expect(await guest.memory.read(gpa, ours.subarray(0, size))).toBe(size);
          await reference.memory.read(gpa, theirs.subarray(0, size));
          if (Buffer.compare(ours.subarray(0, size), theirs.subarray(0, size)) !== 0)
            expect.fail(`0x${gpa.toString(16)} differs`);
        }
    }
  });

  it("riscv64: registers are those that QEMU printed", async () => {
    const guest = await openGuest(bytesSource(bytesOf("riscv64", "stream.qevm")));
    const printed = fs
      .readFileSync(path.join(data, "riscv64", "registers.txt"), "utf8")
      .split(/^CPU#\d+/m)
      .slice(1);
    expect(guest.vcpus.length).toBe(printed.length);
    for (const [i, text] of printed.entries()) {
      const { registers } = guest.vcpus[i] ?? {};
      if (registers?.kind !== "other") return expect.unreachable();
      const shown = Array.from(text.matchAll(/\b(x\d+)\/\w+ +([0-9a-f]{16})/g), ([, name = "", hex = ""]) => [
        name,
        BigInt(`0x${hex}`),
      ]);
      expect(shown.length).toBe(32);
      for (const [name, value] of shown) expect(registers.named[String(name)], String(name)).toBe(value);
      const pc = BigInt(`0x${/^ pc +([0-9a-f]+)/m.exec(text)?.[1] ?? ""}`);
      expect([registers.pc, registers.named["pc"]]).toEqual([pc, pc]);
      expect(registers.named["mhartid"]).toBe(BigInt(i));
    }
  });

  it("mapped-ram with x-ignore-shared: the block in a shared file is absent, the rest is there", async () => {
    const bytes = bytesOf("xign-mapped", "stream.qevm");
    expect((await verify(bytesSource(bytes))).report.valid).toBe(true);
    const guest = await openGuest(bytesSource(bytes));
    expect(guest.vcpus.some(({ registers }) => registers !== undefined)).toBe(true);
    const { absent, missing } = selectMemory(guest);
    expect(absent).toBe(8 << 20);
    expect(new Set(missing.map(({ reason }) => reason?.kind))).toEqual(new Set(["elsewhere"]));
  });
});
