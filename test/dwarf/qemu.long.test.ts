import { execFileSync } from "node:child_process";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { DebugInfo } from "../../src/dwarf/index.js";
import { ElfFile } from "../../src/elf/file.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { openFile } from "../../src/io/node/index.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const packed = path.join(sharedData, "qemu-core/debug");

interface Truth {
  readonly addresses: Readonly<Record<string, bigint>>;
  /** structure → size, then field → offset. */
  readonly layouts: Readonly<Record<string, readonly [number, Readonly<Record<string, number | undefined>>]>>;
}

const COMMON: Truth["layouts"] = {
  FlatView: [56, { ranges: 24, nr: 32, nr_allocated: 36 }],
  FlatRange: [
    64,
    {
      mr: 0,
      offset_in_region: 8,
      addr: 16,
      "addr.start": 16,
      "addr.size": 32,
      romd_mode: 49,
      readonly: 50,
      nonvolatile: 51,
    },
  ],
};
const REGION = {
  romd_mode: 40,
  ram: 41,
  subpage: 42,
  readonly: 43,
  nonvolatile: 44,
  rom_device: 45,
  ram_block: 56,
  size: 112,
  addr: 128,
  ram_device: 153,
  alias: 160,
  alias_offset: 168,
  name: 232,
  rdm: 256,
};
const BLOCK = {
  mr: 16,
  host: 24,
  offset: 40,
  used_length: 48,
  max_length: 56,
  flags: 72,
  idstr: 76,
  "next.le_next": 336,
  length: undefined,
};

/** Read with gdb's `ptype /o`, and again with `readelf -wi`. */
const QEMU_7: Truth = {
  addresses: {
    ram_list: 0x790f20n,
    address_space_memory: 0x790e60n,
    "vmcoreinfo_realize::vmcoreinfo_state": 0x78c900n,
  },
  layouts: {
    ...COMMON,
    AddressSpace: [88, { name: 16, root: 24, current_map: 32 }],
    MemoryRegion: [272, { ...REGION, unmergeable: undefined }],
    RAMList: [104, { mru_block: 48, "blocks.lh_first": 56, "blocks.tqh_first": undefined }],
    RAMBlock: [416, { ...BLOCK, fd: 360, page_size: 368, guest_memfd: undefined }],
    VMCoreInfoState: [
      184,
      { has_vmcoreinfo: 160, "vmcoreinfo.host_format": 168, "vmcoreinfo.size": 172, "vmcoreinfo.paddr": 176 },
    ],
    MachineState: [344, { dump_guest_core: 80, memdev: 112, ram: 120, ram_size: 136 }],
    HostMemoryBackend: [384, { dump: 49 }],
    VirtIOMEM: [616, { bitmap_size: 520, bitmap: 528, addr: 552, block_size: 584 }],
  },
};
const QEMU_10: Truth = {
  addresses: {
    ram_list: 0x82ab20n,
    address_space_memory: 0x82a9e0n,
    current_machine: 0x8278c0n,
    "vmcoreinfo_realize::vmcoreinfo_state": 0x828020n,
  },
  layouts: {
    ...COMMON,
    AddressSpace: [160, { name: 16, root: 24, current_map: 32 }],
    MemoryRegion: [272, { ...REGION, unmergeable: 47 }],
    RAMList: [104, { mru_block: 48, "blocks.lh_first": 56 }],
    RAMBlock: [
      464,
      { ...BLOCK, cpr_blocker: 360, fd: 368, fd_offset: 376, guest_memfd: 384, page_size: 392 },
    ],
    VMCoreInfoState: [176, { has_vmcoreinfo: 152, "vmcoreinfo.size": 164, "vmcoreinfo.paddr": 168 }],
    MachineState: [392, { dump_guest_core: 80, memdev: 112, aux_ram_share: 120, ram: 128, ram_size: 152 }],
    HostMemoryBackend: [384, { dump: 49, guest_memfd: 55 }],
    VirtIOMEM: [656, { bitmap_size: 520, bitmap: 528, mr: 536, memslots: 544, addr: 584, block_size: 616 }],
  },
};

async function check(file: string, truth: Truth): Promise<void> {
  const info = await DebugInfo.open(await ElfFile.open(openFile(file)));
  for (const [name, address] of Object.entries(truth.addresses)) {
    expect([name, info.variable(name)?.address]).toEqual([name, address]);
  }
  for (const [name, [size, fields]] of Object.entries(truth.layouts)) {
    const type = info.type("structure", name);
    expect([name, type?.size]).toEqual([name, size]);
    const offsets = Object.keys(fields).map((field) => [field, type?.field(field)?.offset]);
    expect([name, Object.fromEntries(offsets)]).toEqual([name, fields]);
  }
  // the walk that a reader makes, through declarations that other units complete
  const view = info.variable("address_space_memory")?.type.field("current_map")?.type.peel();
  expect(view?.kind).toBe("pointer");
  const range = view?.target.field("ranges")?.type.peel().target;
  expect(range?.size).toBe(64);
  expect(range?.field("addr.start")).toMatchObject({ offset: 16, size: 16 });
  expect(
    range?.field("mr")?.type.peel().target.field("ram_block")?.type.peel().target.field("host")?.offset,
  ).toBe(24);
  expect(range?.field("offset_in_region")?.size).toBe(8);
  const state = info.variable("vmcoreinfo_realize::vmcoreinfo_state")?.type.peel();
  expect(state?.kind).toBe("pointer");
  expect(state?.target.field("vmcoreinfo")?.size).toBe(16);
  const [machine, idstr] = [
    info.variable("current_machine"),
    info.type("structure", "RAMBlock")?.field("idstr"),
  ];
  expect(String(machine?.type)).toBe("MachineState *");
  expect(idstr?.type.length).toBe(256);
  expect(info.variable("no_such_variable")).toBeUndefined();
  expect(info.type("structure", "NoSuchStructure")).toBeUndefined();
}

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");

describe.skipIf(skip)("debug info of QEMU", () => {
  const unpack = (name: string): string => unzstd(path.join(packed, `${name}.zst`), folder);

  it("7.2", () => check(unpack("qemu-system-x86_64.debug"), QEMU_7));
  it("7.2 after dwz", () => check(unpack("qemu-system-x86_64.dwz.debug"), QEMU_7));
  it("10.0 after dwz", () => check(unpack("qemu10-system-x86_64.debug"), QEMU_10));

  it("addresses agree with the symbol table", async () => {
    const elf = await ElfFile.open(openFile(unpack("qemu-system-x86_64.debug")));
    const info = await DebugInfo.open(elf);
    for (const name of ["ram_list", "address_space_memory", "current_machine"]) {
      const symbol = await elf.symbol(name);
      const variable = info.variable(name);
      expect(variable?.address).toBe(symbol?.address);
      expect(variable?.type.size).toBe(symbol?.size);
    }
  });

  describe.skipIf(skipUnless(hasProgram("objcopy"), "objcopy"))("compressed", () => {
    for (const method of ["zlib", "zlib-gnu", "zstd"]) {
      it(method, async () => {
        const out = path.join(folder, `${method}.debug`);
        execFileSync("objcopy", [
          `--compress-debug-sections=${method}`,
          unpack("qemu-system-x86_64.dwz.debug"),
          out,
        ]);
        await check(out, QEMU_7);
        if (method !== "zlib") return;
        installNodeCodecs();
        await check(out, QEMU_7);
      });
    }
  });
});
