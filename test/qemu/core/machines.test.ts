import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import type { MemoryRange } from "../../../src/guest/memory.js";
import type { Vcpu } from "../../../src/guest/vcpu.js";
import { nodeDebugFiles } from "../../../src/io/node/debug-files.js";
import { openFile } from "../../../src/io/node/files.js";
import { LiveProcess } from "../../../src/io/node/process-memory.js";
import { openQemuGuest } from "../../../src/qemu/core/open.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { scratch, skipUnless } from "../../shared.js";
import { Qmp } from "../qmp.js";
import { differingPages } from "./real-cores.js";

/** The build folder of a QEMU with debug information (`configure --enable-debug-info …; ninja`), not installed. */
const build = process.env.QEMU_BUILD ?? "";
const skip = skipUnless(fs.existsSync(build), "a QEMU built with debug information (QEMU_BUILD=folder)");

const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Machine {
  readonly what: string;
  readonly target: string;
  readonly options: string;
  /** What is plugged while it runs. */
  readonly hot?: readonly (readonly [command: string, args: object])[];
}

/** A machine of every kind. */
const MACHINES: readonly Machine[] = [
  { what: "pc, 4 processors, display", target: "x86_64", options: "-machine pc -m 64M -smp 4 -vga std" },
  {
    what: "memory below and above 4 GiB",
    target: "x86_64",
    options: "-machine q35,max-ram-below-4g=16M -m 48M -smp 2 -vga std",
  },
  {
    what: "NUMA with a backend of every kind",
    target: "x86_64",
    options: `-machine pc -m 48M -smp 2 -object memory-backend-memfd,id=m0,size=16M,share=on
     -object memory-backend-file,id=m1,size=16M,share=on,mem-path=${folder}/m1 -object memory-backend-ram,id=m2,size=16M,dump=off
     -numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1 -numa node,memdev=m2`,
  },
  {
    what: "NVDIMM",
    target: "x86_64",
    options: `-machine q35,nvdimm=on -m 16M,slots=2,maxmem=1G -object memory-backend-ram,id=nv,size=8M
     -device nvdimm,id=n1,memdev=nv,label-size=128K`,
  },
  {
    what: "a DIMM plugged while it runs",
    target: "x86_64",
    options: "-machine pc -m 16M,slots=2,maxmem=1G",
    hot: [
      ["object-add", { "qom-type": "memory-backend-ram", id: "h1", size: 128 << 20 }],
      ["device_add", { driver: "pc-dimm", id: "d1", memdev: "h1" }],
    ],
  },
  {
    what: "virtio-mem without a driver",
    target: "x86_64",
    options: `-machine q35 -m 32M,maxmem=1G -object memory-backend-ram,id=v0,size=64M
     -device virtio-mem-pci,memdev=v0,block-size=2M,requested-size=16M`,
  },
  {
    what: "memory in PCI devices",
    target: "x86_64",
    options: `-machine q35 -m 64M -device virtio-vga -device bochs-display,vgamem=8M
     -object memory-backend-file,id=iv,size=1M,share=on,mem-path=${folder}/iv -device ivshmem-plain,memdev=iv`,
  },
  { what: "microvm", target: "x86_64", options: "-machine microvm -m 32M" },
  { what: "never started", target: "x86_64", options: "-machine pc -m 16M -S" },
  { what: "32-bit x86", target: "i386", options: "-machine pc -m 32M -smp 2 -vga std" },
  { what: "aarch64", target: "aarch64", options: "-machine virt -cpu cortex-a57 -m 32M -smp 2" },
  {
    what: "32-bit ARM in the program for aarch64",
    target: "aarch64",
    options: "-machine virt -cpu cortex-a15 -m 32M -smp 2",
  },
  {
    what: "s390x",
    target: "s390x",
    options: "-machine s390-ccw-virtio -m 32M -smp 2 -no-shutdown -action panic=pause",
  },
  { what: "ppc64", target: "ppc64", options: "-machine pseries -m 256M -smp 2" },
];

/** A QEMU and its monitor. */
class Qemu {
  readonly child: ChildProcess;
  readonly monitor: Qmp;

  private constructor(child: ChildProcess, monitor: Qmp) {
    this.child = child;
    this.monitor = monitor;
  }

  static async start(target: string, options: string): Promise<Qemu> {
    const socket = path.join(folder, "monitor");
    fs.rmSync(socket, { force: true });
    const common = ["-accel", "tcg", "-display", "none", "-nodefaults", "-qmp", `unix:${socket},server=on`];
    const firmware = [
      "-L",
      path.join(build, "../pc-bios"),
      "-L",
      "/usr/share/seabios",
      "-L",
      "/usr/share/qemu",
    ];
    const args = [...firmware, ...common, ...options.split(/\s+/)];
    const child = spawn(path.join(build, `qemu-system-${target}`), args, { cwd: folder, stdio: "ignore" });
    return new Qemu(child, await Qmp.connect(socket, 10_000));
  }

  close(): void {
    this.monitor.close();
    this.child.kill("SIGKILL");
  }
}

/** Addresses that a guest has, in as few ranges as possible. */
function extents(ranges: Iterable<MemoryRange>): number[][] {
  const joined: number[][] = [];
  for (const { start, end } of ranges) {
    const last = joined.at(-1);
    if (last?.[1] === start) last[1] = end;
    else joined.push([start, end]);
  }
  return joined;
}

/** What QEMU's notes have of a processor. */
function noted({ id, registers }: Vcpu): unknown {
  if (registers?.kind === "x86")
    return [id, registers.general, registers.segments, registers.gdt, registers.idt];
  if (registers?.kind === "aarch64") return [id, registers.x, registers.sp, registers.pc, registers.pstate];
  return [id, registers?.pc, registers?.named];
}

describe.skipIf(skip)("machines of a QEMU at hand, read from the process", () => {
  it.each(MACHINES)("$what ($target): equal to QEMU's own dump", async ({ target, options, hot }) => {
    const qemu = await Qemu.start(target, options);
    let live: LiveProcess | undefined;
    try {
      for (const [command, args] of hot ?? []) await qemu.monitor.execute(command, args);
      // firmware gets somewhere
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await qemu.monitor.execute("stop");
      const dump = path.join(folder, "dump");
      fs.rmSync(dump, { force: true });
      await qemu.monitor.execute("dump-guest-memory", { paging: false, protocol: `file:${dump}` });
      const reference = await elfVmcore.reader.openGuest(openFile(dump), {});
      live = new LiveProcess(qemu.child.pid ?? 0, { stop: true });
      const debugFiles = nodeDebugFiles({});
      const guest: GuestImage = await openQemuGuest({ memory: live, auxv: live.auxv }, "QEMU", {
        qemu: { debugFiles },
      });
      if (reference === undefined) throw new Error("QEMU's dump can't be opened");
      expect(extents(guest.memory.ranges())).toEqual(extents(reference.memory.ranges()));
      expect(await differingPages(guest, reference)).toEqual([]);
      expect(guest.vcpus.map(noted)).toEqual(reference.vcpus.map(noted));
    } finally {
      live?.close();
      qemu.close();
    }
  });
});
