import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { memoryTotals, type MemoryRange } from "../../../src/guest/memory.js";
import { joinRanges } from "../../../src/qemu/core/flat-view.js";
import { inspectQemu } from "../../../src/qemu/core/inspect.js";
import { hasProgram, hasShared, scratch, skipUnless } from "../../shared.js";
import { cores, differingPages, metaOf, RealCores } from "./real-cores.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const real = new RealCores(folder);

const CASES = [
  "tiny-pc",
  "tiny-split",
  "tiny-nodump",
  "tiny-nodump-gcore",
  "tiny-file33",
  "tiny-virtiomem",
  "tiny-gcore",
  "tiny-pagetrunc",
  "q35split",
  "v10-tiny-split",
] as const;

const skip = skipUnless(hasShared && hasProgram("zstd"), "../shared/data/qemu-core and zstd");
const hex = (text: string): number => Number.parseInt(text, 16);

const backed = (name: string): { backings: { id: string; source: ReturnType<RealCores["backing"]> }[] } => ({
  backings: name === "tiny-file33" ? [{ id: "m0", source: real.backing("tiny-file33", "ram0.img") }] : [],
});

/** The last flat view of `info mtree -f` that names the address space "memory". */
function mtreeLines(name: string): string[] {
  const text = fs.readFileSync(path.join(cores, name, "mtree.txt"), "utf8").replaceAll("\r", "");
  const view = text.split("FlatView #").find((part) => / AS "memory", root: system/.test(part)) ?? "";
  return view.split("\n").filter((line) => /^ {2}[0-9a-f]{16}-/.test(line));
}

describe.skipIf(skip)("cores of real QEMUs", () => {
  it.each(CASES)("%s: flat view, RAM blocks and segments are those the debugger saw", async (name) => {
    const { truth } = metaOf(name);
    const state = await real.state(name);
    const dumped = new Set(state.selected);
    expect(
      state.view.ranges.map((range) => ({
        gpa: range.start,
        size: range.size,
        offset: range.offsetInRegion,
        name: range.region.name,
        hva: range.ram?.host,
        block: range.ram?.block.id,
        selected: dumped.has(range),
        readonly: range.readonly,
        nonvolatile: range.nonvolatile,
      })),
    ).toEqual(
      truth.flat_ranges.map((range) => ({
        gpa: hex(range.gpa),
        size: hex(range.size),
        offset: hex(range.offset_in_region),
        name: range.name,
        hva: range.hva === undefined ? undefined : hex(range.hva),
        block: range.block,
        selected: range.selected,
        readonly: range.fr_readonly,
        nonvolatile: range.fr_nonvolatile,
      })),
    );
    expect(
      state.view.blocks.map(({ id, flags, fd, pageSize, address, host, offset, usedLength, maxLength }) => ({
        id,
        flags,
        fd,
        pageSize,
        numbers: [address, host, offset, usedLength, maxLength],
      })),
    ).toEqual(
      truth.ram_blocks.map((block) => ({
        id: block.idstr,
        flags: hex(block.flags),
        fd: block.fd,
        pageSize: block.page_size,
        numbers: [block.addr, block.host, block.offset, block.used_length, block.max_length].map(hex),
      })),
    );
    expect(joinRanges(state.selected).map(({ start, end, host }) => [start, end - start, host])).toEqual(
      truth.expected_segments.map(({ gpa, size, hva }) => [gpa, size, hva].map(hex)),
    );
  });

  it.each(CASES)("%s: is shown as `info mtree -f` does", async (name) => {
    const { flatView } = (await inspectQemu(await real.state(name), "core")).details;
    const address = (value: number): string => value.toString(16).padStart(16, "0");
    const lines = flatView.map((range) => {
      const offset = range.offsetInRegion === 0 ? "" : ` @${address(range.offsetInRegion)}`;
      return `  ${address(range.start)}-${address(range.end - 1)} (prio ${range.priority}, ${range.type}): ${range.name ?? ""}${offset}`;
    });
    expect(lines).toEqual(mtreeLines(name));
  });

  const WHOLE = CASES.filter((name) => !/nodump|pagetrunc/.test(name));
  it.each(WHOLE)("%s: memory, registers and VMCOREINFO equal QMP's own dump", async (name) => {
    const guest = await real.guest(name, backed(name));
    const reference = await real.referenceGuest(name);
    expect(await differingPages(guest, reference)).toEqual([]);
    const bytes = (ranges: Iterable<MemoryRange>): number =>
      [...ranges].reduce((sum, { start, end }) => sum + end - start, 0);
    expect(bytes(guest.memory.ranges())).toBe(bytes(reference.memory.ranges()));
    expect(memoryTotals(guest.memory).absent).toBe(0);
    expect(guest.facts.vmcoreInfo?.text.replace(/\0+$/, "")).toEqual(
      reference.facts.vmcoreInfo?.text.replace(/\0+$/, ""),
    );
    expect(guest.vcpus.length).toBe(reference.vcpus.length);
    for (const [i, vcpu] of reference.vcpus.entries()) {
      const [ours, theirs] = [guest.vcpus[i]?.registers, vcpu.registers];
      if (ours?.kind !== "x86" || theirs?.kind !== "x86") throw new Error("no x86 registers");
      expect(ours.general).toEqual(theirs.general);
      expect(ours.segments).toEqual(theirs.segments);
      expect([ours.gdt, ours.idt]).toEqual([theirs.gdt, theirs.idt]);
      expect(ours.control).toMatchObject(theirs.control);
      expect(ours.msrs.kernel_gs_base).toBe(theirs.msrs.kernel_gs_base);
    }
    real.forget(name);
  });

  const absent = async (name: string): Promise<MemoryRange[]> =>
    [...(await real.guest(name)).memory.ranges()].filter(({ presence }) => presence === "absent");

  it.each(["tiny-nodump", "tiny-nodump-gcore"])("%s: all RAM is reported lost", async (name) => {
    const missing = await absent(name);
    expect(missing.map(({ start, end }) => [start, end])).toEqual([
      [0, 0x80_0000],
      [0xffff_0000, 0x1_0000_0000],
    ]);
    expect(missing.every(({ reason }) => reason?.text.includes("dump-guest-core=off"))).toBe(true);
  });

  it("tiny-file33: without its file the RAM is missing, the rest is there", async () => {
    const missing = await absent("tiny-file33");
    expect(missing.map(({ start, end }) => [start, end])).toEqual([
      [0, 0xc_0000],
      // shadow RAM between option ROMs and BIOS
      [0xe_0000, 0xf_0000],
      [0x10_0000, 0x80_0000],
    ]);
    expect(missing.every(({ reason }) => /ram0\.img/.test(reason?.text ?? ""))).toBe(true);
  });

  it("tiny-pagetrunc: what the cut took is missing, all below equals QMP's dump", async () => {
    const missing = await absent("tiny-pagetrunc");
    expect(missing.map(({ start, end }) => [start, end])).toEqual([
      [0xf_0000, 0x10_0000],
      [0x4b_5123, 0x80_0000],
      [0xffff_0000, 0x1_0000_0000],
    ]);
    expect(missing.every(({ reason }) => reason?.text === "the core is cut short")).toBe(true);
    const different = await differingPages(
      await real.guest("tiny-pagetrunc"),
      await real.referenceGuest("tiny-pagetrunc"),
    );
    const inside = (gpa: number): boolean =>
      missing.some(({ start, end }) => gpa + 4096 > start && gpa < end);
    expect(different.filter((gpa) => !inside(gpa))).toEqual([]);
  });

  it("tiny-virtiomem: unplugged blocks are left out, or taken when asked for", async () => {
    const bytes = async (keepUnplugged: boolean): Promise<number> => {
      const { memory } = await real.state("tiny-virtiomem", { keepUnplugged });
      return [...memory.ranges()]
        .filter(({ end }) => end > 2 ** 32)
        .reduce((sum, { start, end }) => sum + end - Math.max(start, 2 ** 32), 0);
    };
    expect(await bytes(false)).toBe(22 << 20);
    expect(await bytes(true)).toBe(32 << 20);
  });

  it("reads the same with debug information that dwz has shrunk", async () => {
    const plain = await real.state("tiny-split");
    const shrunk = await real.state("tiny-split", {}, "qemu-system-x86_64.dwz");
    expect(shrunk.view).toEqual(plain.view);
    expect(shrunk.machine).toEqual(plain.machine);
  });

  it("tells machine, accelerator and version", async () => {
    expect((await real.state("tiny-split")).machine).toEqual({
      name: "pc-i440fx-7.2",
      dumpGuestCore: true,
      ramSize: 12 << 20,
      accelerator: "tcg",
      version: "7.2",
    });
    expect((await real.state("v10-tiny-split")).machine).toMatchObject({
      name: "pc-i440fx-10.0",
      ramSize: 12 << 20,
      version: "10.0",
    });
  });

  it("refuses debug information of another program", async () => {
    const wrong = real.state("tiny-split", {}, "qemu10-system-x86_64");
    await expect(wrong).rejects.toMatchObject({ code: "elf/core/other-program" });
  });
});
