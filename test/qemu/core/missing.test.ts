import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { MemoryRange } from "../../../src/guest/memory.js";
import { openFile } from "../../../src/io/node/files.js";
import { openCore, type OpenedQemu } from "../../../src/qemu/core/guest.js";
import { hasProgram, projectRoot, runCli, scratch, skipUnless } from "../../shared.js";
import { compileMimic, openMimic, runMimic } from "./mimic.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** A core of the program that mimics QEMU, by gcore. */
async function coreOf(
  version: number,
  ...defines: readonly string[]
): Promise<{ exe: string; core: string }> {
  const exe = compileMimic(folder, version, ...defines);
  const { child, pid } = await runMimic(exe);
  const core = path.join(folder, "core");
  spawnSync("gcore", ["-o", core, String(pid)], { stdio: "ignore" });
  child.kill("SIGKILL");
  return { exe, core: `${core}.${pid}` };
}

async function stateOf(version: number, ...defines: readonly string[]): Promise<OpenedQemu> {
  const { exe, core } = await coreOf(version, ...defines);
  return openMimic(await openCore(openFile(core)), exe);
}

const absent = ({ memory }: OpenedQemu): MemoryRange[] =>
  [...memory.ranges()].filter(({ presence }) => presence === "absent");

const skip = skipUnless(hasProgram("gcc") && hasProgram("gcore"), "gcc and gcore");

describe.skipIf(skip)("guest memory that a core lacks is told with its reason", () => {
  it.each([
    ["GUEST_CORE_OFF", "left out of the core: -machine dump-guest-core=off"],
    ["BACKEND_DUMP_OFF", "left out of the core: its memory backend has dump=off"],
  ])("%s", async (define, text) => {
    const reason = { kind: "not-saved", text };
    const state = await stateOf(702, define);
    // all that the block of RAM holds, wherever the guest sees it
    expect(absent(state)).toEqual([
      { start: 0, end: 0x1_0000, presence: "absent", reason },
      { start: 0xff20_0000, end: 0xff20_1000, presence: "absent", reason },
    ]);
    expect(state.machine.dumpGuestCore).toBe(define !== "GUEST_CORE_OFF");
  });

  it("a file without a name is gone", async () => {
    const missing = absent(await stateOf(702, "DELETED", "FILTER=0x31"));
    expect(missing.map(({ start }) => start)).toEqual([0, 0xff20_0000]);
    expect(missing[0]?.reason?.text).toBe(
      "left out by coredump_filter; the file it was mapped from is gone, /memfd:ram (deleted)",
    );
  });

  it("a memory backend's file is named, and read when it is given", async () => {
    const ram = path.join(folder, "ram.img");
    const { exe, core } = await coreOf(702, `FILE_BACKED="${ram}"`, "FILTER=0x33");
    const state = await openMimic(await openCore(openFile(core)), exe);
    expect(absent(state)[0]?.reason?.text).toBe(`only in the file it is mapped from, ${ram}`);
    const main = path.join(projectRoot, "dist/cli/main.js");
    if (skipUnless(fs.existsSync(main), "dist/ (npm run build)")) return;
    const out = path.join(folder, "raw");
    const extract = ["extract", "--exe", exe, core, out, "--to", "raw", "--range", "0-0x10000"];
    const refused = runCli(extract);
    expect([refused.status, fs.existsSync(out)]).toEqual([1, false]);
    expect(refused.stderr).toContain(`66.7% of guest memory): only in the file it is mapped from, ${ram}`);
    expect(runCli([...extract, "--backing", `pc.ram=${ram}`]).status).toBe(0);
    const bytes = fs.readFileSync(out);
    expect([0, 0x1000, 0xffff].map((at) => bytes[at])).toEqual([1, 2, 16]);
    // a file that ends too soon
    fs.truncateSync(ram, 0x8000);
    const cut = runCli([...extract, "--force", "--backing", `pc.ram=${ram}`]);
    expect(cut.status).toBe(1);
    expect(cut.stderr).toContain("missing 0x8000-0x10000");
  });

  it.each([900, 1100])(
    "private pages of a confidential guest are warned of, by block: %i",
    async (version) => {
      const { warnings } = await stateOf(version, "GUEST_MEMFD");
      expect(warnings).toEqual([
        expect.stringMatching(/RAM block 'pc\.ram' has private pages in a guest_memfd/),
      ]);
    },
  );
});

describe.skipIf(skip)("virtio-mem in a process", () => {
  /** Units that are there, of those from 0x200000000 on. */
  const plugged = ({ memory }: OpenedQemu): number[] =>
    [...memory.ranges()].flatMap(({ start, end }) =>
      start < 0x2_0000_0000
        ? []
        : Array.from({ length: (end - start) / 4096 }, (_, i) => (start - 0x2_0000_0000) / 4096 + i),
    );

  it.each([
    [1000, "VIRTIO_MEM=1", [1, 2, 65]],
    [1100, "VIRTIO_MEM=1", [1, 2, 65]],
    // what one source discards isn't there, whatever the others say
    [1100, "VIRTIO_MEM=2", [1, 65]],
  ])("QEMU %i, %s: only plugged units are memory", async (version, define, units) => {
    const state = await stateOf(version, define);
    expect(state.warnings).toEqual([]);
    expect(plugged(state)).toEqual(units);
  });

  it("a list of sources that comes back to itself is refused", async () => {
    await expect(stateOf(1100, "VIRTIO_MEM=1", "LOOP_SOURCES")).rejects.toThrow(/more than 64/);
  });
});
