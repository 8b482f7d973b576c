import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../../src/guest/image.js";
import { openFile } from "../../../../src/io/node/files.js";
import { LiveProcess } from "../../../../src/io/node/process-memory.js";
import { openCore } from "../../../../src/qemu/core/guest.js";
import { openQemuGuest } from "../../../../src/qemu/core/open.js";
import { elfVmcore } from "../../../../src/vmcore/elf/format.js";
import { hasProgram, scratch, skipUnless } from "../../../shared.js";
import { Qmp } from "../../qmp.js";
import { differingPages } from "../real-cores.js";

const skip = skipUnless(hasProgram("qemu-system-x86_64"), "qemu-system-x86_64 (qemu-system-x86)");
const noDebugger = skipUnless(hasProgram("gcore"), "gcore (gdb)");
/** A Linux kernel and its initial RAM disk, which say `GUEST-` on the serial console once they run. */
const { GUEST_KERNEL: kernel = "", GUEST_INITRD: initrd = "" } = process.env;
const noKernel = skipUnless(fs.existsSync(kernel) && fs.existsSync(initrd), "GUEST_KERNEL and GUEST_INITRD");

const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Machine {
  readonly what: string;
  readonly options: string;
  readonly proof: RegExp;
}

const FIRMWARE = /ACPI's RSDP/;
const nodes = `-object memory-backend-memfd,id=m0,size=48M -object memory-backend-ram,id=m1,size=80M
  -numa node,nodeid=1,memdev=m1 -numa node,nodeid=0,memdev=m0`;
/** Firmware alone. */
const BARE: readonly Machine[] = [
  { what: "pc", options: "-machine pc -m 64M", proof: FIRMWARE },
  { what: "q35 parted at 4 GiB", options: "-machine q35,max-ram-below-4g=64M -m 128M", proof: FIRMWARE },
  {
    what: "pc parted at 4 GiB",
    options: "-machine pc,max-ram-below-4g=64M -m 128M -vga none",
    proof: FIRMWARE,
  },
  { what: "nodes of a memfd and of none", options: `-machine q35 -m 128M ${nodes}`, proof: FIRMWARE },
  {
    what: "memory of a file",
    options: `-machine pc,memory-backend=r -m 64M -object memory-backend-file,id=r,size=64M,share=on,mem-path=${folder}/ram`,
    proof: FIRMWARE,
  },
  {
    what: "a backend as libvirt writes it",
    options: `-machine q35,memory-backend=pc.ram -m size=65536k -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}`,
    proof: FIRMWARE,
  },
];
const LINUX_PROOF = /VMCOREINFO, page tables and text of Linux .* agree/;
const LINUX: readonly Machine[] = [
  { what: "pc", options: "-machine pc -m 1G", proof: LINUX_PROOF },
  { what: "q35 of 5 GiB", options: "-machine q35 -m 5G", proof: LINUX_PROOF },
  {
    what: "two nodes of one size",
    options: `-machine q35 -m 1G -smp 2 -object memory-backend-memfd,id=a,size=512M -object memory-backend-memfd,id=b,size=512M
      -numa node,nodeid=0,cpus=0,memdev=a -numa node,nodeid=1,cpus=1,memdev=b`,
    proof: LINUX_PROOF,
  },
  { what: "microvm", options: "-machine microvm,rtc=on,pit=on,pic=on -cpu max -m 1G", proof: LINUX_PROOF },
];

/** A QEMU and its monitor. */
class Qemu {
  readonly child: ChildProcess;
  readonly monitor: Qmp;

  private constructor(child: ChildProcess, monitor: Qmp) {
    this.child = child;
    this.monitor = monitor;
  }

  static async start(options: readonly string[]): Promise<Qemu> {
    const socket = path.join(folder, "monitor");
    fs.rmSync(socket, { force: true });
    const common = ["-accel", "tcg", "-display", "none", "-qmp", `unix:${socket},server=on,wait=off`];
    const child = spawn("qemu-system-x86_64", [...common, ...options], { cwd: folder, stdio: "ignore" });
    return new Qemu(child, await Qmp.connect(socket, 30_000));
  }

  /** QEMU's own dump of the stopped guest. */
  async dump(): Promise<GuestImage> {
    const file = path.join(folder, "dump");
    fs.rmSync(file, { force: true });
    await this.monitor.execute("dump-guest-memory", { paging: false, protocol: `file:${file}` });
    return elfVmcore.reader.openGuest(openFile(file), {});
  }

  close(): void {
    this.monitor.close();
    this.child.kill("SIGKILL");
  }
}

const how = { qemu: { withoutDebugInfo: true } };

/** Compares a guest with QEMU's dump: all RAM is there and equal; what else QEMU dumps are ROMs and displays. */
async function expectSame(guest: GuestImage, reference: GuestImage, proof: RegExp): Promise<void> {
  expect(guest.facts.more?.addressesProvenBy).toEqual([expect.stringMatching(proof)]);
  expect(guest.vcpus).toEqual([]);
  const ram = [...guest.memory.ranges()].filter(({ presence }) => presence !== "absent");
  const ours = (gpa: number): boolean => ram.some(({ start, end }) => start <= gpa && gpa < end);
  const different = await differingPages(guest, reference);
  expect(different.filter(ours)).toEqual([]);
  // a microvm's ROM below 1 MiB, displays and firmware below 4 GiB
  const rest = different.filter(
    (gpa) => !(gpa >= 0xe0000 && gpa < 0x100000) && !(gpa >= 0xc000_0000 && gpa < 2 ** 32),
  );
  expect(rest).toEqual([]);
  const there = [...reference.memory.ranges()];
  for (const { start, end } of ram)
    expect(there.some((range) => range.start <= start) && there.some((range) => range.end >= end)).toBe(true);
}

describe.skipIf(skip)("a QEMU without debug information: firmware", () => {
  it.each(BARE)(
    "$what: RAM equals QEMU's own dump, of the process and of its core",
    async ({ options, proof }) => {
      const qemu = await Qemu.start(options.split(/\s+/));
      const pid = qemu.child.pid ?? 0;
      try {
        // SeaBIOS gets to where it looks for a disk
        await new Promise((resolve) => setTimeout(resolve, 6000));
        await qemu.monitor.execute("stop");
        const live = new LiveProcess(pid);
        const reference = await qemu.dump();
        try {
          const guest = await openQemuGuest({ memory: live, auxv: live.auxv }, "QEMU", how);
          await expectSame(guest, reference, proof);
        } finally {
          live.close();
        }
        if (noDebugger) return;
        execFileSync("gcore", ["-o", path.join(folder, "core"), String(pid)], { stdio: "ignore" });
        const core = path.join(folder, `core.${pid}`);
        // gdb leaves out what is mapped from a file
        const settings = {
          ...how.qemu,
          ...(options.includes("mem-path") ? { backing: { r: `${folder}/ram` } } : {}),
        };
        const openIt = { qemu: settings, openFile: async (name: string) => openFile(name) };
        const ofCore = await openQemuGuest(await openCore(openFile(core)), "core", openIt);
        await expectSame(ofCore, reference, proof);
        fs.rmSync(core);
      } finally {
        qemu.close();
      }
    },
  );
});

describe.skipIf(skip || noKernel)("a QEMU without debug information: Linux", () => {
  it.each(LINUX)("$what: RAM equals QEMU's own dump", async ({ options, proof }) => {
    const console_ = path.join(folder, "console");
    fs.rmSync(console_, { force: true });
    const boot = [
      "-kernel",
      kernel,
      "-initrd",
      initrd,
      "-append",
      "console=ttyS0",
      "-serial",
      `file:${console_}`,
    ];
    const qemu = await Qemu.start([...options.split(/\s+/), ...boot]);
    try {
      const said = (): string => (fs.existsSync(console_) ? fs.readFileSync(console_, "latin1") : "");
      await expect.poll(said, { timeout: 300_000, interval: 1000 }).toContain("GUEST-");
      await qemu.monitor.execute("stop");
      const live = new LiveProcess(qemu.child.pid ?? 0);
      try {
        const guest = await openQemuGuest({ memory: live, auxv: live.auxv }, "QEMU", how);
        await expectSame(guest, await qemu.dump(), proof);
      } finally {
        live.close();
      }
    } finally {
      qemu.close();
      fs.rmSync(path.join(folder, "dump"), { force: true });
    }
  });
});
