import { kernelTextMapping } from "../../../src/guest/kernel/kernel-layout.js";
import { because } from "../absent-reason.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { I386, X86_64 } from "../../../src/guest/arch/x86.js";
import { findVmcoreInfo, isVmcoreInfo, kernelBanner } from "../../../src/guest/kernel/vmcoreinfo.js";
import { PageMap } from "../../../src/guest/page-map.js";
import {
  longMode,
  mappings,
  pagingOf,
  type Paging,
  readVirtual,
  translate,
} from "../../../src/guest/paging/walk.js";
import type { Vcpu, X86Registers } from "../../../src/guest/vcpu.js";
import { bytesSource } from "../../../src/io/byte-source.js";

/** A guest of 64 pages whose bytes the test sets. */
function guest(): { bytes: Buffer; memory: PageMap } {
  const bytes = Buffer.alloc(64 * 4096);
  const memory = new PageMap(bytesSource(bytes));
  memory.set(0, 64, 0);
  return { bytes, memory };
}

const entry = (bytes: Buffer, table: number, index: number, value: bigint): void => {
  bytes.writeBigUInt64LE(value, table + index * 8);
};

function registers(control: Record<string, bigint>, efer?: bigint): X86Registers {
  const general = Object.fromEntries(
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "rip", "rflags"].map((name) => [name, 0n]),
  ) as X86Registers["general"];
  return {
    kind: "x86",
    general,
    segments: {},
    control,
    debug: {},
    msrs: efer === undefined ? {} : { efer },
  };
}

const NX = 1n << 63n;

describe("page walks", () => {
  it.each([4, 5] as const)("%i levels: small, 2 MiB and 1 GiB pages, canonical addresses", async (levels) => {
    const { bytes, memory } = guest();
    const top = levels === 5 ? 0x5000 : 0x1000;
    if (levels === 5) entry(bytes, 0x5000, 511, 0x1003n);
    entry(bytes, 0x1000, 511, 0x2003n);
    entry(bytes, 0x2000, 510, 0x3003n);
    entry(bytes, 0x2000, 511, (3n << 30n) | 0x83n | NX);
    entry(bytes, 0x3000, 0, 0x4003n);
    entry(bytes, 0x3000, 1, (7n << 21n) | 0x1083n);
    entry(bytes, 0x4000, 5, 0xa001n | NX);
    const paging = longMode(top, levels);
    const base = 0xffff_ffff_8000_0000n;
    expect(await translate(memory, paging, base + 0x5123n)).toBe(0xa123);
    // bit 12 of a large page's entry is no address bit
    expect(await translate(memory, paging, base + 0x20_0042n)).toBe(7 * 2 ** 21 + 0x42);
    expect(await translate(memory, paging, base + (1n << 30n) + 99n)).toBe(3 * 2 ** 30 + 99);
    expect(await translate(memory, paging, base + 0x6000n)).toBeUndefined();
    expect(await translate(memory, paging, 0n)).toBeUndefined();
    expect(await mappings(memory, paging, base, 0xffff_ffff_ffff_f000n)).toEqual([
      { va: base + 0x5000n, gpa: 0xa000, length: 0x1000 },
      { va: base + 0x20_0000n, gpa: 7 * 2 ** 21, length: 2 ** 21 },
      { va: base + (1n << 30n), gpa: 3 * 2 ** 30, length: 2 ** 30 - 4096 },
    ]);
  });

  it("PAE and 32-bit paging", async () => {
    const { bytes, memory } = guest();
    entry(bytes, 0x1020, 3, 0x2001n);
    entry(bytes, 0x2000, 0, 0x3001n);
    entry(bytes, 0x2000, 1, 0x1_0040_0081n);
    entry(bytes, 0x3000, 1, 0xb001n);
    const pae = pagingOf(registers({ cr0: 0x8000_0001n, cr3: 0x1020n, cr4: 0x20n }, 0n));
    expect(pae).toEqual({ mode: "pae", levels: 3, root: 0x1020 });
    expect(await translate(memory, pae, 0xc000_1004n)).toBe(0xb004);
    expect(await translate(memory, pae, 0xc020_0004n)).toBe(0x1_0040_0004);
    bytes.writeUInt32LE(0x6001, 0x5000);
    bytes.writeUInt32LE(0xc001, 0x6000 + 4);
    // a 4 MiB page whose bit 13 is address bit 32
    bytes.writeUInt32LE(0x0080_2081, 0x5000 + 4);
    const legacy = pagingOf(registers({ cr0: 0x8000_0001n, cr3: 0x5000n, cr4: 0x10n }, 0n));
    expect(legacy).toEqual({ mode: "legacy", levels: 2, root: 0x5000 });
    expect(await translate(memory, legacy, 0x1008n)).toBe(0xc008);
    expect(await translate(memory, legacy, 0x40_0010n)).toBe(0x1_0080_0010);
    expect(await translate(memory, legacy, 0x80_0000n)).toBeUndefined();
  });

  it("without paging an address is itself; 5 levels only with LA57", () => {
    expect(pagingOf(registers({ cr0: 0x10n }))).toEqual({ mode: "none", levels: 0, root: 0 });
    const long = { cr0: 0x8000_0001n, cr3: 0xdead_b000n | NX, cr4: 0x1020n };
    expect(pagingOf(registers(long, 0x500n))).toEqual({ mode: "long", levels: 5, root: 0xdead_b000 });
    expect(pagingOf(registers({ ...long, cr4: 0x20n }, 0x500n)).levels).toBe(4);
  });

  it("tables of any contents: answers, never a crash or a walk without end", async () => {
    const modes: Paging[] = [
      longMode(0x1000, 4),
      longMode(0x1000, 5),
      { mode: "pae", levels: 3, root: 0x1000 },
      { mode: "legacy", levels: 2, root: 0x1000 },
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ at: fc.nat(8 * 512 - 1), frame: fc.nat(70), flags: fc.nat(0xfff) }), {
          maxLength: 60,
        }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.constantFrom(...modes),
        async (entries, va, paging) => {
          const { bytes, memory } = guest();
          for (const { at, frame, flags } of entries)
            entry(bytes, 0x1000, at, (BigInt(frame) << 12n) | BigInt(flags));
          const gpa = await translate(memory, paging, va);
          expect(gpa === undefined || Number.isSafeInteger(gpa)).toBe(true);
          await readVirtual(memory, paging, va, new Uint8Array(5000));
        },
      ),
    );
  });

  it("a table that is its own entry ends", async () => {
    const { bytes, memory } = guest();
    for (let i = 0; i < 512; i += 1) entry(bytes, 0x1000, i, 0x1003n);
    expect((await mappings(memory, longMode(0x1000, 4), 0n, 1n << 40n)).length).toBeGreaterThan(0);
  });
});

const TEXT = [
  "OSRELEASE=6.1.0",
  "PAGESIZE=4096",
  "SYMBOL(swapper_pg_dir)=ffffffff81001000",
  "SYMBOL(_stext)=ffffffff81005000",
  "NUMBER(phys_base)=-16777216",
  "NUMBER(pgtable_l5_enabled)=0",
  "",
].join("\n");

/** A kernel whose text lies at 0x5000: phys_base moves 0xffffffff81000000 to 0. */
function kernel(): { bytes: Buffer; memory: PageMap } {
  const made = guest();
  entry(made.bytes, 0x1000, 511, 0x2003n);
  entry(made.bytes, 0x2000, 510, 0x3003n);
  entry(made.bytes, 0x3000, 8, 0x4003n);
  for (let i = 5; i < 20; i += 1) entry(made.bytes, 0x4000, i, BigInt(i << 12) | 1n);
  made.bytes.write("Linux version 6.1.0 (a@b) (gcc) #1 SMP Tue\n", 0x7ff8, "latin1");
  return made;
}

function note(text: string, size = text.length): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(11, 0);
  head.writeUInt32LE(size, 4);
  head.write("VMCOREINFO\0", 12, "latin1");
  return Buffer.concat([head, Buffer.from(text)]);
}

describe("VMCOREINFO in memory", () => {
  it("is found as a note and as a text, also across pages, and maps the kernel", async () => {
    for (const [piece, at] of [
      [note(TEXT + "X=1\n".repeat(1500)), 30],
      [Buffer.from(TEXT), 40],
    ] as const) {
      const { bytes, memory } = kernel();
      piece.copy(bytes, at * 4096);
      const found = await findVmcoreInfo(memory, X86_64);
      expect(found?.gpa).toBe(at * 4096);
      expect(found?.text.startsWith(TEXT)).toBe(true);
      expect(await kernelTextMapping(memory, found?.text ?? "", X86_64)).toEqual([
        { va: 0xffff_ffff_8100_5000n, gpa: 0x5000, length: 15 * 4096 },
      ]);
      expect(await kernelBanner(memory, X86_64, found)).toBe("Linux version 6.1.0 (a@b) (gcc) #1 SMP Tue");
      expect(await kernelTextMapping(memory, TEXT, I386)).toEqual([]);
    }
  });

  it("of an earlier kernel yields to that of the kernel that is mapped", async () => {
    const { bytes, memory } = kernel();
    Buffer.from(TEXT.replace("81001000", "81033000")).copy(bytes, 25 * 4096);
    Buffer.from(TEXT).copy(bytes, 45 * 4096);
    expect((await findVmcoreInfo(memory, X86_64))?.gpa).toBe(45 * 4096);
  });

  it("is refused when it is not right", async () => {
    for (const bad of [
      note(TEXT, 0x7fff_ffff),
      note(TEXT.replace("PAGESIZE", "PAGE")),
      note(TEXT.replace("=4096", "=\x014096")),
      Buffer.from("OSRELEASE=1"),
    ]) {
      const { bytes, memory } = kernel();
      bad.copy(bytes, 30 * 4096);
      expect(await findVmcoreInfo(memory, X86_64)).toBeUndefined();
    }
    expect(isVmcoreInfo(TEXT)).toBe(true);
    for (const value of ["99999999999999999999", "x", "1"])
      expect(await kernelTextMapping(kernel().memory, TEXT.replace("-16777216", value), X86_64)).toEqual([]);
  });
});

describe("VMCOREINFO of a running kernel", () => {
  const DIRECT_MAP = 0xffff_8880_0000_0000n;
  const RIP = 0xffff_ffff_8100_6000n;

  function vcpu(id: number, cr3: bigint, rip = RIP): Vcpu {
    const made = registers({ cr0: 1n << 31n, cr3, cr4: 0n }, 1n << 10n);
    return { id, registers: { ...made, general: { ...made.general, rip } } };
  }

  /** The kernel above with its note in page 45, a pointer at it in its data, and the note of an earlier one. */
  function running(): { bytes: Buffer; memory: PageMap; touched: Set<number> } {
    const { bytes } = kernel();
    entry(bytes, 0x1000, 273, 0x2_1003n);
    entry(bytes, 0x2_1000, 0, 0x2_2003n);
    entry(bytes, 0x2_2000, 0, 0x83n);
    entry(bytes, 0xa000, 7, DIRECT_MAP + BigInt(45 * 4096));
    note(TEXT.replace("6.1.0", "6.0.0")).copy(bytes, 25 * 4096);
    note(TEXT).copy(bytes, 45 * 4096);
    const touched = new Set<number>();
    const inner = bytesSource(bytes);
    const memory = new PageMap({
      ...inner,
      read: (offset, into) => {
        for (let page = offset >> 12; page << 12 < offset + into.length; page += 1) touched.add(page);
        return inner.read(offset, into);
      },
    });
    memory.set(0, 64, 0);
    return { bytes, memory, touched };
  }

  it("is found by the kernel's own pointer, and the rest of the memory is not read", async () => {
    for (const cr3 of [0x1000n, 0x1018n]) {
      const { memory, touched } = running();
      const found = await findVmcoreInfo(memory, X86_64, [{ id: 0 }, vcpu(1, cr3)]);
      expect(found).toEqual({ text: TEXT, gpa: 45 * 4096 });
      expect([...touched].filter((page) => page >= 0x17)).toEqual([0x21, 0x22, 45]);
    }
    // without processors every page is looked at, and the first that is right counts
    expect((await findVmcoreInfo(running().memory, X86_64))?.gpa).toBe(25 * 4096);
  });

  it("is found from a program's tables where the kernel isolates them", async () => {
    const { bytes, memory } = running();
    // the kernel's top table in page 50, the program's in page 51
    bytes.copy(bytes, 50 * 4096, 0x1000, 0x2000);
    const found = await findVmcoreInfo(memory, X86_64, [vcpu(0, BigInt(51 * 4096), 0x40_0000n)]);
    expect(found?.gpa).toBe(45 * 4096);
  });

  it("is looked for everywhere when the image doesn't point at it, or its page is absent", async () => {
    for (const hide of [
      (bytes: Buffer): void => entry(bytes, 0xa000, 7, 0n),
      (_: Buffer, memory: PageMap): void => memory.absent(10, 1, because("lost")),
    ]) {
      const { bytes, memory } = running();
      hide(bytes, memory);
      expect((await findVmcoreInfo(memory, X86_64, [vcpu(0, 0x1000n)]))?.gpa).toBe(25 * 4096);
    }
  });

  it("is not looked for when the processors ran something else, and is when they may not have", async () => {
    /** Tables in page 55 that map the first 2 MiB only. */
    const other = (): ReturnType<typeof running> => {
      const made = running();
      entry(made.bytes, 55 * 4096, 0, BigInt(56 * 4096) | 3n);
      entry(made.bytes, 56 * 4096, 0, BigInt(57 * 4096) | 3n);
      entry(made.bytes, 57 * 4096, 0, 0x83n);
      return made;
    };
    const cr3 = BigInt(55 * 4096);
    const one = other();
    expect(await findVmcoreInfo(one.memory, X86_64, [vcpu(0, cr3, 0x4000n)])).toBeUndefined();
    expect(await kernelBanner(one.memory, X86_64, undefined, [vcpu(0, cr3, 0x4000n)])).toBeUndefined();
    expect([...one.touched].sort((a, b) => a - b)).toEqual([54, 55, 56, 57]);
    expect(await kernelBanner(one.memory, X86_64)).toMatch(/^Linux version 6/);
    const found = async (vcpus: readonly Vcpu[], { memory } = other()): Promise<number | undefined> =>
      (await findVmcoreInfo(memory, X86_64, vcpus))?.gpa;
    // a nested guest's tables: the code at hand is not in them
    expect(await found([vcpu(0, cr3, RIP)])).toBe(25 * 4096);
    // another processor runs the kernel
    expect(await found([vcpu(0, cr3, 0x4000n), vcpu(1, 0x1000n)])).toBe(45 * 4096);
    // a table is absent
    const lost = other();
    entry(lost.bytes, 55 * 4096, 511, BigInt(70 * 4096) | 3n);
    expect(await found([vcpu(0, cr3, 0x4000n)], lost)).toBe(25 * 4096);
  });

  it("takes any tables and images", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(63 * 512), fc.nat(70), fc.nat(0xfff)), { maxLength: 200 }),
        fc.array(fc.nat(70), { maxLength: 12 }),
        async (entries, roots) => {
          const { bytes, memory } = running();
          for (const [at, frame, flags] of entries)
            bytes.writeBigUInt64LE((BigInt(frame) << 12n) | BigInt(flags), at * 8);
          const vcpus = roots.map((root, id) => vcpu(id, BigInt(root) << 12n));
          const found = await findVmcoreInfo(memory, X86_64, vcpus);
          expect(found === undefined || isVmcoreInfo(found.text)).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });
});
