import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../../src/guest/image.js";
import type { QemuOptions } from "../../../../src/guest/options.js";
import { openFile } from "../../../../src/io/node/files.js";
import { qemuCore } from "../../../../src/qemu/core/format.js";
import { hasProgram, hasShared, runCli, scratch, skipUnless } from "../../../shared.js";
import { differingPages, RealCores } from "../real-cores.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const real = new RealCores(folder);
const skip = skipUnless(hasShared && hasProgram("zstd"), "../shared/data/qemu-core and zstd");

async function open(name: string, qemu: QemuOptions = {}): Promise<GuestImage> {
  const reader = qemuCore.reader;
  if (reader.access !== "random") throw new Error("cores are read at any offset");
  const options = {
    openFile: async (path: string) => openFile(path),
    qemu: { ...qemu, withoutDebugInfo: true },
  };
  const guest = await reader.openGuest(openFile(real.core(name)), options);
  if (guest === undefined) throw new Error("cores can be opened");
  return guest;
}

/** Pages of the reference that are RAM by the ranges of our guest and differ. */
async function different(guest: GuestImage, name: string): Promise<number[]> {
  const reference = await real.referenceGuest(name);
  const ranges = [...guest.memory.ranges()].filter(({ presence }) => presence !== "absent");
  const inside = (gpa: number): boolean => ranges.some(({ start, end }) => start <= gpa && gpa < end);
  return (await differingPages(guest, reference)).filter(inside);
}

const CASES = ["tiny-pc", "tiny-split", "tiny-gcore", "v10-tiny-split", "tiny-virtiomem"] as const;

describe.skipIf(skip)("cores of QEMU without its debug information", () => {
  it("a Linux guest's is proven by its kernel: memory equals QMP's dump, without registers", async () => {
    const guest = await open("q35split");
    expect(await different(guest, "q35split")).toEqual([]);
    expect(guest.memory.ranges()).toBeDefined();
    const bytes = [...guest.memory.ranges()].reduce((sum, { start, end }) => sum + end - start, 0);
    // all of 128 MiB but VGA's window
    expect(bytes).toBe((128 << 20) - 0x20000);
    expect(guest.vcpus).toEqual([]);
    expect(guest.facts.vmcoreInfo?.text).toMatch(/^OSRELEASE=6\.1\./);
    expect(guest.facts.more?.addressesProvenBy).toEqual([expect.stringMatching(/direct map has this RAM/)]);
    expect(guest.warnings).toEqual([expect.stringMatching(/no registers/)]);
  });

  it.each(CASES)("%s: nothing in memory proves the addresses: refused", async (name) => {
    await expect(open(name)).rejects.toMatchObject({
      code: "qemu/core/unproven",
      remedy: { option: "map", value: "pc.ram@ADDRESS" },
    });
  });

  it.each(["tiny-pc", "tiny-split", "tiny-gcore", "v10-tiny-split"])(
    "%s: its memory is where --map says",
    async (name) => {
      const guest = await open(name, { map: [{ block: "pc.ram", address: 0 }] });
      expect(await different(guest, name)).toEqual([]);
      expect(guest.warnings).toContainEqual(expect.stringMatching(/nothing in it proves them/));
    },
  );

  it("blocks that there aren't, and addresses that overlap, are refused", async () => {
    const attempt = (map: NonNullable<QemuOptions["map"]>): Promise<GuestImage> =>
      open("tiny-split", { map });
    await expect(attempt([{ block: "ram", address: 0 }])).rejects.toThrow(/no such block, only pc\.ram/);
    await expect(attempt([{ block: "pc.ram", address: 0x1001 }])).rejects.toThrow(/multiple of a page/);
  });

  it("memory that is in a file alone is said to be, and read from there", async () => {
    await expect(open("tiny-file33")).rejects.toThrow(
      /not there \(only in the file it is mapped from, .*ram0\.img\)/,
    );
    const { name } = real.backing("tiny-file33", "ram0.img");
    const guest = await open("tiny-file33", { backing: { m0: name }, map: [{ block: "m0", address: 0 }] });
    expect(await different(guest, "tiny-file33")).toEqual([]);
  });

  it("memory that was left out is not taken from a mapping of its size", async () => {
    await expect(open("tiny-nodump-gcore", { map: [{ block: "pc.ram", address: 0 }] })).rejects.toMatchObject(
      {
        code: "qemu/core/ram-mapping",
      },
    );
    const guest = await open("tiny-nodump", { map: [{ block: "pc.ram", address: 0 }] });
    const [range] = guest.memory.ranges();
    expect(range).toMatchObject({ presence: "absent", reason: { kind: "not-saved" } });
  });

  it("a core cut before the stack has no command line", async () => {
    await expect(open("tiny-pagetrunc")).rejects.toMatchObject({ code: "qemu/core/command-line" });
  });

  it("the message that says what is missing offers it", () => {
    const core = real.core("q35split");
    const without = runCli(["extract", core, `${folder}/out.elf`]);
    expect(without.stderr).toMatch(
      /no debug info of .*\n[^]*\n {2}--debug-file FILE names it.*\n {2}--without-debug-info reads memory/,
    );
    const run = runCli(["log", "--without-debug-info", core]);
    expect(run.status).toBe(0);
    expect(run.stdout).toContain("Linux version 6.1.0");
    const list = runCli(["ps", "--without-debug-info", core]);
    expect(list.stdout).toMatch(/\bkthreadd\b/);
    const idle = runCli(["inspect", "--map", "pc.ram@0", core]);
    expect(idle.stderr).toMatch(/--map doesn't apply/);
  });
});
