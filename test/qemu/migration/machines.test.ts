import { verifyAs } from "../../verify-as.js";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { memoryTotals } from "../../../src/guest/memory.js";
import { openFile } from "../../../src/io/node/files.js";
import { qemuMigration } from "../../../src/qemu/migration/format.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { Emulator, elfSegments } from "./emulator.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const MIB = 2 ** 20;
const PATTERN = `${folder}/pattern.bin`;
const PATTERN_PAGES = 2;
/** Options that put two pages of a pattern, which differs from place to place, at an address. */
const patternAt = (address: number): string => {
  const file = `${PATTERN}.${address}`;
  const bytes = Buffer.alloc(PATTERN_PAGES * 4096);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE((address / 4096 + i * 2654435761) >>> 0, i);
  fs.writeFileSync(file, bytes);
  return `-device loader,file=${file},addr=0x${address.toString(16)},force-raw=on`;
};

interface Case {
  readonly name: string;
  readonly program: string;
  /** Options, some to a line; blanks part them. */
  readonly args: () => readonly string[];
  /** Run the firmware until this is mapped; else the guest never runs. */
  readonly until?: string;
  readonly map?: readonly { block: string; address: number }[];
  readonly arch: string;
  readonly vcpus: number;
  readonly evidence?: readonly string[];
  /** The model has no registers of this architecture. */
  readonly noNotes?: true;
}

const CASES: readonly Case[] = [
  {
    name: "pc-i440fx-2.0: neither configuration nor footers nor description",
    program: "qemu-system-x86_64",
    args: () => ["-M pc-i440fx-2.0 -m 24 -smp 2", patternAt(0x1000000)],
    arch: "x86_64",
    vcpus: 2,
    evidence: ["split at 4 GiB from the CMOS"],
  },
  {
    name: "pc-i440fx-2.12 after its firmware: video memory by a name without address",
    program: "qemu-system-i386",
    args: () => ["-M pc-i440fx-2.12 -m 24 -vga std", patternAt(0x1000000)],
    until: "vga.vram",
    arch: "i386",
    vcpus: 1,
  },
  {
    name: "q35 after its firmware: nodes, NVDIMM, two displays",
    program: "qemu-system-x86_64",
    args: () => [
      "-M q35,nvdimm=on -m 32,slots=2,maxmem=1G -smp 2",
      "-object memory-backend-memfd,id=one,size=12M -numa node,memdev=one",
      "-object memory-backend-ram,id=two,size=20M -numa node,memdev=two",
      "-object memory-backend-ram,id=nv,size=16M -device nvdimm,memdev=nv",
      "-device virtio-vga -device bochs-display",
      patternAt(8 * MIB),
      patternAt(16 * MIB),
    ],
    until: "bochs-display-vram",
    arch: "x86_64",
    vcpus: 2,
    evidence: [
      "split at 4 GiB from the CMOS",
      "order of nodes from the ACPI SRAT: no two are of one size",
      "'nv' from the ACPI NFIT",
    ],
  },
  {
    name: "pc, nodes of one size and a DIMM: at the addresses given",
    program: "qemu-system-x86_64",
    args: () => [
      "-M pc,max-ram-below-4g=16M -m 24,slots=2,maxmem=1G -smp 2",
      "-object memory-backend-ram,id=zed,size=12M -numa node,memdev=zed",
      "-object memory-backend-ram,id=alf,size=12M -numa node,memdev=alf",
      "-object memory-backend-ram,id=d0,size=128M -device pc-dimm,memdev=d0",
      patternAt(8 * MIB),
      patternAt(14 * MIB),
      patternAt(4096 * MIB),
    ],
    map: [
      { block: "zed", address: 0 },
      { block: "alf", address: 0xc0_0000 },
      { block: "d0", address: 0x1_4000_0000 },
    ],
    arch: "x86_64",
    vcpus: 2,
  },
  {
    name: "microvm",
    program: "qemu-system-x86_64",
    args: () => ["-M microvm -m 24", patternAt(0x1000000)],
    arch: "x86_64",
    vcpus: 1,
  },
  {
    name: "virt of aarch64",
    program: "qemu-system-aarch64",
    args: () => ["-M virt -cpu cortex-a57 -m 24 -smp 2", patternAt(0x40100000)],
    arch: "aarch64",
    vcpus: 2,
  },
  {
    name: "virt of 32-bit ARM",
    program: "qemu-system-arm",
    args: () => ["-M virt -m 24", patternAt(0x40100000)],
    arch: "arm",
    vcpus: 1,
  },
  {
    name: "versatilepb: pages of 1 KiB",
    program: "qemu-system-arm",
    args: () => ["-M versatilepb -m 24", patternAt(0x100000)],
    map: [{ block: "versatile.ram", address: 0 }],
    arch: "arm",
    vcpus: 1,
  },
  {
    name: "pseries",
    program: "qemu-system-ppc64",
    args: () => ["-M pseries -m 256", patternAt(0x1000000)],
    until: "ppc_spapr.ram",
    arch: "ppc64",
    vcpus: 1,
  },
  {
    name: "s390-ccw-virtio",
    program: "qemu-system-s390x",
    args: () => ["-M s390-ccw-virtio -m 24", patternAt(0x1000000)],
    arch: "s390x",
    vcpus: 1,
  },
  {
    name: "virt of RISC-V",
    program: "qemu-system-riscv64",
    args: () => ["-M virt -m 24", patternAt(0x80100000)],
    arch: "riscv64",
    vcpus: 1,
    noNotes: true,
  },
];

async function openDump(file: string): Promise<GuestImage> {
  return await elfVmcore.reader.openGuest(openFile(file), {});
}

/** What a dump's NT_PRSTATUS holds of each processor. */
function registersOf({ vcpus }: GuestImage): unknown[] {
  return vcpus.map(({ registers }) => {
    switch (registers?.kind) {
      case "x86":
        return registers.general;
      case "aarch64":
        return [registers.x, registers.sp, registers.pc, registers.pstate];
      case "other": {
        const { pc, sp, named } = registers;
        const general = Object.entries(named).filter(([name]) =>
          /^(r\d+|cpsr|msr|lr|ctr|cr|psw_mask)$/.test(name),
        );
        return { pc, sp, ...Object.fromEntries(general) };
      }
      default:
        return undefined;
    }
  });
}

/** Old machine types go with newer versions of QEMU. */
function hasMachine({ program, args }: Case): boolean {
  const type = /^-M ([^ ,]+)/.exec(args()[0] ?? "")?.[1] ?? "";
  if (!hasProgram(program)) return false;
  const known = execFileSync(program, ["-M", "help"], { encoding: "utf8" }).split("\n");
  return known.some((line) => line.startsWith(`${type} `));
}

describe("machines of QEMU, page by page", () => {
  let emulator: Emulator | undefined;
  afterEach(async () => emulator?.end());

  it.each(CASES)("$name", { timeout: 60_000 }, async (one) => {
    if (skipUnless(hasMachine(one), `${one.program} with this machine`)) return;
    emulator = await Emulator.start(one.program, ["-S", ...one.args().flatMap((line) => line.split(" "))]);
    if (one.until !== undefined) await emulator.runUntilMapped(one.until);
    const { stream, dump } = await emulator.save(folder);

    const input = openFile(stream);
    const report = new Report(stream);
    await verifyAs(qemuMigration, input, report);
    expect(report.findings.filter(({ severity }) => severity === "error")).toEqual([]);
    if (one.map !== undefined)
      await expect(qemuMigration.reader.openGuest(input, {})).rejects.toMatchObject({
        remedy: { option: "map" },
      });
    const guest = await qemuMigration.reader.openGuest(input, { qemu: { map: one.map } });
    expect(guest.arch.name).toBe(one.arch);
    expect(guest.vcpus.length).toBe(one.vcpus);
    if (one.noNotes !== true) expect(registersOf(guest)).toEqual(registersOf(await openDump(dump)));
    if (one.evidence !== undefined) expect(guest.facts.specific).toMatchObject({ map: one.evidence });

    let equal = 0;
    let missing = 0;
    const page = new Uint8Array(4096);
    for (const { gpa, bytes } of elfSegments(dump))
      for (let at = 0; at < bytes.length; at += 4096) {
        const n = await guest.memory.read(gpa + at, page);
        if (n === 0) missing += 4096;
        else {
          expect(Buffer.compare(page, bytes.subarray(at, at + 4096)), `0x${(gpa + at).toString(16)}`).toBe(0);
          equal += 4096;
        }
      }
    expect(missing).toBe(0);
    expect(equal).toBeGreaterThan(24 * MIB - 1);
    const { present, zero, absent } = memoryTotals(guest.memory);
    expect(present + zero).toBe(equal);
    expect(absent).toBe(0);
    input.close();
  });
});
