import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DebugInfo } from "../../../src/dwarf/info.js";
import { ElfFile } from "../../../src/elf/file.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { openFile } from "../../../src/io/node/files.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { DwarfTypes } from "../../../src/linux/dwarf-types.js";
import { type Kernel, openKernel } from "../../../src/linux/kernel.js";
import { linkAddress } from "../../../src/linux/symbols/link-address.js";
import { writeVmlinux } from "../../../src/linux/symbols/vmlinux.js";
import type { KernelType } from "../../../src/linux/types.js";
import { openVmlinux } from "../../../src/linux/vmlinux.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { openFixture } from "../fixture.js";

/** The fixtures hold a part of the kernel's image alone: sections come in pieces, some without contents. */
const PARTIAL = ["hvmlinux-6.1", "arm64-6.12", "amd64-7.2"] as const;

/** Structures with bit-fields, unnamed parts, arrays and pointers to functions: the fixtures have some of them. */
const STRUCTURES = ["task_struct", "mm_struct", "file", "page", "net_device", "inode", "rq", "module"];

function flat(type: KernelType): unknown {
  return type.members().map(({ name, bitOffset, bitSize, type: part }) => ({
    name,
    bitOffset,
    bitSize,
    kind: part.kind,
    typeName: part.name,
    size: part.size,
    count: part.count,
  }));
}

describe.each(PARTIAL)("vmlinux of %s", (name) => {
  const { folder, cleanup } = scratch();
  const file = path.join(folder, "vmlinux");
  let guest: GuestImage;
  let kernel: Kernel;

  beforeAll(async () => {
    guest = await openFixture(name);
    kernel = await openKernel(guest);
    const sink = new MemorySink();
    await writeVmlinux(kernel, sink);
    fs.writeFileSync(file, sink.bytes());
  });

  afterAll(async () => {
    await guest.close?.();
    cleanup();
  });

  it("is the same each time", async () => {
    const sink = new MemorySink();
    await writeVmlinux(kernel, sink);
    expect(Buffer.compare(sink.bytes(), fs.readFileSync(file))).toBe(0);
  });

  it("has contents where memory has them, and says how much of each part is missing", async () => {
    const elf = await ElfFile.open(openFile(file));
    const sections = await elf.sections();
    const text = sections.filter(({ name: section }) => section === ".text.absent");
    expect(text.length).toBeGreaterThan(0);
    expect(sections.filter(({ name: section }) => section === ".notes").length).toBe(1);
    const lacks = text.reduce((sum, { size }) => sum + size, 0);
    expect(kernel.troubles.map(({ message }) => message)).toContain(
      `${lacks} bytes of the kernel's .text can't be read: the symbol file has no contents there`,
    );
    for (const section of sections.filter(({ name: part }) => part === ".data")) {
      const inMemory = new Uint8Array(section.size);
      expect(await kernel.readVirtual(section.address + kernel.slide, inMemory)).toBe(section.size);
      expect(Buffer.compare(await elf.sectionData(section), inMemory)).toBe(0);
    }
  });

  it("has the build id that VMCOREINFO gives", async () => {
    const elf = await ElfFile.open(openFile(file));
    expect(await elf.buildId()).toBe(kernel.info.get("BUILD-ID"));
  });

  it("has the symbols of kallsyms at their link addresses", async () => {
    const vmlinux = await openVmlinux(openFile(file));
    const symbols = await vmlinux.symbols(kernel.slide);
    const named = [...kernel.needSymbols()].filter(({ name: text }) => text !== "" && !text.startsWith("$"));
    expect(named.length).toBeGreaterThan(50);
    for (const { name: symbol, address } of named) expect(symbols?.addresses(symbol)).toContain(address);
  });

  it("describes structures in debug information as BTF does", async () => {
    const elf = await ElfFile.open(openFile(file));
    const types = new DwarfTypes(await DebugInfo.open(elf), "DWARF");
    const there = STRUCTURES.filter((struct) => kernel.hasStruct(struct));
    expect(there.length).toBeGreaterThan(2);
    for (const struct of there) {
      const written = types.find("struct", struct);
      expect(written?.size).toBe(kernel.struct(struct).size);
      expect(written === undefined ? undefined : flat(written)).toEqual(flat(kernel.struct(struct)));
    }
  });

  it("gives per-CPU variables and well-known ones their types", async () => {
    const elf = await ElfFile.open(openFile(file));
    const types = new DwarfTypes(await DebugInfo.open(elf), "DWARF");
    expect(types.variable?.("init_task")?.name).toBe("task_struct");
    expect(types.variable?.("runqueues")?.name).toBe("rq");
    if (kernel.hasStruct("printk_ringbuffer"))
      expect(types.variable?.("prb")?.target()?.name).toBe("printk_ringbuffer");
  });

  it.skipIf(skipUnless(hasProgram("eu-elflint"), "eu-elflint"))("passes eu-elflint", () => {
    const { stdout, status } = spawnSync("eu-elflint", [file], { encoding: "utf8" });
    expect({ stdout, status }).toEqual({ stdout: "No errors\n", status: 0 });
  });

  it.skipIf(skipUnless(hasProgram("readelf"), "readelf"))("is read by readelf without a warning", () => {
    const { stderr, status } = spawnSync("readelf", ["-a", "--wide", file], {
      encoding: "utf8",
      maxBuffer: 1 << 30,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it.skipIf(skipUnless(hasProgram("gdb"), "gdb"))("is loaded by gdb, which finds types and places", () => {
    const place = linkAddress(kernel, kernel.needSymbol("do_nanosleep"));
    const { stdout, stderr } = spawnSync(
      "gdb",
      ["-batch", "-nx", "-ex", "p sizeof(struct task_struct)", "-ex", "info address do_nanosleep", file],
      { encoding: "utf8" },
    );
    expect(stdout).toContain(`$1 = ${kernel.struct("task_struct").size}`);
    // a gdb that doesn't know the machine cuts addresses
    expect(stdout).toContain(place.toString(16).slice(-8));
    expect(stderr).toBe("");
  });
});
