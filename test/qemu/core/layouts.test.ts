import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { openFile } from "../../../src/io/node/files.js";
import { LiveProcess } from "../../../src/io/node/process-memory.js";
import { joinRanges } from "../../../src/qemu/core/flat-view.js";
import { guestOfQemu, openCore, type OpenedQemu } from "../../../src/qemu/core/guest.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { compileMimic, openMimic, runMimic } from "./mimic.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** One version out of each row of the table of how fields moved. */
const VERSIONS = [102, 103, 104, 106, 201, 202, 203, 206, 208, 212, 301, 601, 702, 900, 1100];

const withProcess = async <T>(exe: string, use: (live: LiveProcess) => Promise<T>): Promise<T> => {
  const { child, pid } = await runMimic(exe);
  const live = new LiveProcess(pid, { stop: true });
  try {
    return await use(live);
  } finally {
    live.close();
    child.kill("SIGKILL");
  }
};

/** What the program has at a guest address, by its own rule. */
function byteAt(gpa: number): number {
  if (gpa >= 2 ** 32) return 0x80 + Math.floor((gpa - 2 ** 32) / 4096);
  if (gpa >= 0xffff_d000) return 0x81 + Math.floor((gpa - 0xffff_d000) / 4096);
  if (gpa >= 0xff20_0000) return 1;
  return 1 + Math.floor(gpa / 4096);
}

async function check(state: OpenedQemu, version: number): Promise<void> {
  const nonvolatile = version >= 301 ? [[0xff20_0000, 0xff20_1000]] : [];
  const segments = [
    [0, 0x1_0000],
    ...nonvolatile,
    [0xffff_d000, 0x1_0000_0000],
    [0x1_0000_0000, 0x1_0000_4000],
  ];
  expect(joinRanges(state.selected).map(({ start, end }) => [start, end])).toEqual(segments);
  expect(state.view.blocks.map(({ id, usedLength }) => [id, usedLength])).toEqual([
    ["vfio", 0x1000],
    ["pc.bios", 0x4000],
    ["pc.ram", 0x1_0000],
  ]);
  expect(state.view.blocks[0]?.pageSize).toBe(version >= 208 ? 4096 : undefined);
  const guest = await guestOfQemu(state, "test");
  const page = new Uint8Array(4096);
  for (const [start = 0, end = 0] of segments) {
    for (let gpa = start; gpa < end; gpa += 4096) {
      expect(await guest.memory.read(gpa, page)).toBe(4096);
      // the note lies in this page
      if (gpa === 0x3000 && version >= 212) expect(page[0]).toBe(byteAt(gpa));
      else expect(page.every((byte) => byte === byteAt(gpa))).toBe(true);
    }
  }
  expect(guest.facts.vmcoreInfo?.text).toBe(
    version >= 212 ? "OSRELEASE=6.1.0-mimic\nPAGESIZE=4096\n" : undefined,
  );
  expect(guest.vcpus.map(({ id }) => id)).toEqual([0, 1]);
  const registers = guest.vcpus[1]?.registers;
  if (registers?.kind !== "x86") throw new Error("no x86 registers");
  // numbered as the processor does: rax rcx rdx rbx …
  expect([registers.general.rax, registers.general.rcx, registers.general.rbx]).toEqual([
    0x2000n,
    0x2001n,
    0x2003n,
  ]);
  expect(registers.general.rip).toBe(0xffff_ffff_8100_0001n);
  expect(registers.segments.es?.selector).toBe(8);
  expect(registers.segments.cs).toEqual({ selector: 16, base: 0x100n, limit: 0xffff, flags: 0x9300 });
  expect(registers.control).toMatchObject({ cr0: 0x8005_0033n, cr3: 0x1000n, cr4: 0x6f0n });
  expect(registers.msrs.efer).toBe(0xd01n);
}

const noGcc = skipUnless(hasProgram("gcc") && fs.existsSync("/proc/self/mem"), "gcc and /proc");

describe.skipIf(noGcc)("QEMU's structures through its versions", () => {
  it.each(VERSIONS)("version %i, read from the running process", async (version) => {
    const exe = compileMimic(folder, version);
    await withProcess(exe, async (live) =>
      check(await openMimic({ memory: live, auxv: live.auxv }, exe), version),
    );
  });

  it.skipIf(skipUnless(hasProgram("gcore"), "gcore")).each([104, 702])(
    "version %i, read from a core that gcore wrote",
    async (version) => {
      const exe = compileMimic(folder, version);
      const { child, pid } = await runMimic(exe);
      try {
        const core = path.join(folder, "core");
        spawnSync("gcore", ["-o", core, String(pid)], { stdio: "ignore" });
        await check(await openMimic(await openCore(openFile(`${core}.${pid}`)), exe), version);
      } finally {
        child.kill("SIGKILL");
      }
    },
  );

  it("stops a process only as long as it is read", async () => {
    const { child, pid } = await runMimic(compileMimic(folder, 702));
    const stateOf = (): string | undefined =>
      /^State:\s+(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    try {
      const live = new LiveProcess(pid, { stop: true });
      expect(stateOf()).toBe("T");
      live.close();
      live.close();
      await expect.poll(stateOf).toBe("S");
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("leaves out what the flat view marks non-volatile when asked to", async () => {
    const exe = compileMimic(folder, 702);
    await withProcess(exe, async (live) => {
      const process = { memory: live, auxv: live.auxv };
      const starts = (state: OpenedQemu): number[] => joinRanges(state.selected).map(({ start }) => start);
      expect(starts(await openMimic(process, exe))).toEqual([0, 0xff20_0000, 0xffff_d000, 0x1_0000_0000]);
      const without = await openMimic(process, exe, { excludeNonvolatile: true });
      expect(starts(without)).toEqual([0, 0xffff_d000, 0x1_0000_0000]);
    });
  });

  const DAMAGE = [
    ["LOOP_BLOCKS", 702, "qemu/core/list-loop"],
    ["LOOP_BLOCKS", 104, "qemu/core/list-loop"],
    ["LOOP_ALIAS", 702, "qemu/core/alias-loop"],
    ["BAD_POINTER", 702, "qemu/core/unreadable"],
    ["NO_VIEW", 702, "qemu/core/no-flat-view"],
    ["MANY_RANGES", 702, "qemu/core/flat-view"],
    ["LONG_RANGE", 702, "qemu/core/range-bounds"],
    ["HUGE_ADDRESS", 702, "qemu/core/beyond-64-bits"],
    ["BACKWARDS", 702, "qemu/core/flat-view"],
    ["WILD_BLOCK", 702, "qemu/core/ram-block"],
  ] as const;
  it.each(DAMAGE)("%s in version %i is an error with its place", async (define, version, code) => {
    const exe = compileMimic(folder, version, define);
    await withProcess(exe, async (live) => {
      const error: unknown = await openMimic({ memory: live, auxv: live.auxv }, exe).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(GuestscopeError);
      expect((error as GuestscopeError).code).toBe(code);
    });
  });

  it("a process that is no QEMU is said to be none", async () => {
    const source = path.join(folder, "other.c");
    fs.writeFileSync(
      source,
      '#include <stdio.h>\n#include <unistd.h>\nint main(void){puts("ready");fflush(stdout);for(;;)pause();}',
    );
    const exe = path.join(folder, "other");
    spawnSync("gcc", ["-g", "-o", exe, source]);
    await withProcess(exe, async (live) => {
      const opened = openMimic({ memory: live, auxv: live.auxv }, exe);
      await expect(opened).rejects.toMatchObject({ code: "qemu/core/not-qemu" });
    });
  });
});
