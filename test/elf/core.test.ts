import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ET_CORE, NT_AUXV, NT_FILE, PT_LOAD, PT_NOTE } from "../../src/elf/layout.js";
import { loadBias, ProcessCore } from "../../src/elf/core.js";
import { ElfFile } from "../../src/elf/file.js";
import { encodeNote } from "../../src/elf/notes.js";
import { mappedFileAt, type ProcessPiece } from "../../src/elf/process-memory.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openFile } from "../../src/io/node/index.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";
import { buildElf, type SegmentDescription } from "./elf-writer.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Meta {
  readonly core_size: number;
  readonly core_phdrs: number;
  readonly core_notes: readonly (readonly [string, number])[];
  readonly truth: {
    readonly load_bias: string;
    readonly build_id: string;
    readonly at_phdr: string;
    readonly at_entry: string;
    readonly e_entry: string;
    readonly expected_segments: readonly { gpa: string; size: string; hva: string }[];
  };
  readonly core_presence: readonly { gpa: string; size: string; core_offset?: string; state: string }[];
}

/** How INDEX.md's words for the presence of a range read here. */
function expectedPresence(state: string): { presence: string; length?: number } {
  if (state === "present") return { presence: "present" };
  if (state === "p_filesz short") return { presence: "elided" };
  if (state === "no PT_LOAD") return { presence: "unmapped" };
  const cut = /^cut: only (0x[0-9a-f]+) bytes/.exec(state);
  if (cut === null) throw new Error(`unknown state ${state}`);
  return { presence: "truncated", length: Number(cut[1]) };
}

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");

describe.skipIf(skip)("cores of real QEMU processes", () => {
  const cases = [
    "tiny-pc",
    "tiny-nodump",
    "tiny-nodump-gcore",
    "tiny-file33",
    "tiny-pagetrunc",
    "v10-tiny-split",
  ];
  for (const name of cases) {
    it(name, async () => {
      const meta = JSON.parse(
        fs.readFileSync(path.join(sharedData, "qemu-core", name, "meta.json"), "utf8"),
      ) as Meta;
      const file = unzstd(path.join(sharedData, "qemu-core", name, "core.zst"), folder, {
        name: `${name}.core`,
      });
      const source = openFile(file);
      const core = await ProcessCore.open(source);
      expect(core.elf.segments.length).toBe(meta.core_phdrs);
      const notes = await core.elf.notes();
      const known = notes.filter(({ name: who }) => who === "CORE" || who === "LINUX");
      expect(new Set(known.map(({ type }) => type)).size).toBeGreaterThan(5);
      expect(core.process?.commandLine).toContain("qemu-system-x86_64");
      expect(core.threads.length).toBeGreaterThan(2);
      expect(core.threads.every(({ registers }) => registers.length === 27 * 8 + 8)).toBe(true);
      const image = await core.mainImage();
      expect(image.path).toMatch(/qemu[^/]*$/);
      expect(image.buildId).toBe(meta.truth.build_id);
      expect(image.elf?.header.e_entry).toBe(BigInt(meta.truth.e_entry));
      if (image.elf === undefined) throw new Error("the header is in the core");
      expect(loadBias(core.name, core.auxv, image.elf, image.base)).toEqual({
        bias: Number(meta.truth.load_bias),
        by: ["AT_ENTRY", "AT_PHDR", "NT_FILE"],
      });
      for (const [i, segment] of meta.truth.expected_segments.entries()) {
        const [start, size] = [Number(segment.hva), Number(segment.size)];
        const said = meta.core_presence[i];
        if (said === undefined) throw new Error("meta.json lists each segment");
        const { presence, length } = expectedPresence(said.state);
        const pieces = [...core.pieces(start, start + size)];
        expect(pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(size);
        const last = pieces.at(-1);
        expect([segment.gpa, last?.presence]).toEqual([segment.gpa, presence]);
        const present = pieces.filter((piece) => piece.presence === "present");
        const there = present.reduce((sum, piece) => sum + piece.length, 0);
        expect(there).toBe(presence === "present" ? size : (length ?? 0));
        if (said.core_offset !== undefined && there > 0)
          expect(present[0]?.offset).toBe(Number(said.core_offset));
        const into = new Uint8Array(size);
        expect(await core.read(start, into)).toBe(there);
      }
      source.close();
      fs.rmSync(file);
    });
  }

  it("a core that is cut says how much it lacks, and files tell what was mapped", async () => {
    const file = unzstd(path.join(sharedData, "qemu-core/tiny-file33/core.zst"), folder, {
      name: "file33.core",
    });
    const source = openFile(file);
    const core = await ProcessCore.open(source);
    expect(core.missing).toBe(0);
    expect(path.basename(mappedFileAt(core, 0x7fe005d7c000)?.path ?? "")).toBe("ram0.img");
    expect(mappedFileAt(core, 0x7fe004c00000)).toBeUndefined();
    source.close();
  });

  it("the debug file of another QEMU is refused", async () => {
    const file = unzstd(path.join(sharedData, "qemu-core/tiny-pc/core.zst"), folder, { name: "pc.core" });
    const debug = unzstd(path.join(sharedData, "qemu-core/debug/qemu10-system-x86_64.debug.zst"), folder);
    const core = await ProcessCore.open(openFile(file));
    const image = await core.mainImage();
    const other = await ElfFile.open(openFile(debug));
    expect(() => loadBias(core.name, core.auxv, other, image.base)).toThrow(
      expect.objectContaining({ code: "elf/core/other-program" }),
    );
  });
});

const fill = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);

describe("process memory", () => {
  const loads: SegmentDescription[] = [
    { type: PT_LOAD, vaddr: 0x3000n, data: fill(0x1000, 3), memsz: 0x2000 },
    { type: PT_LOAD, vaddr: 0x1000n, data: fill(0x1000, 1) },
    { type: PT_LOAD, vaddr: 0x2000n, data: fill(0x1000, 2) },
    { type: PT_LOAD, vaddr: 0xffff_ffff_ff60_0000n, data: fill(0x1000, 9) },
  ];
  for (const [bits, order] of [
    [64, "little"],
    [64, "big"],
    [32, "little"],
    [32, "big"],
  ] as const) {
    it(`of a ${bits}-bit ${order} endian core, whatever the order of its segments`, async () => {
      const bytes = buildElf({
        bits,
        order,
        type: ET_CORE,
        segments: bits === 64 ? loads : loads.slice(0, 3),
      });
      const core = await ProcessCore.open(bytesSource(bytes, "core"));
      const into = new Uint8Array(0x4000);
      expect(await core.read(0x1800, into)).toBe(0x2800);
      expect(into.subarray(0, 0x2800)).toEqual(
        Uint8Array.from([...fill(0x1000, 1).subarray(0x800), ...fill(0x1000, 2), ...fill(0x1000, 3)]),
      );
      expect(await core.read(0x4000, into)).toBe(0);
      const kinds = ({ address, length, presence }: ProcessPiece): unknown[] => [address, length, presence];
      expect([...core.pieces(0x800, 0x6000)].map(kinds)).toEqual([
        [0x800, 0x800, "unmapped"],
        [0x1000, 0x2000, "present"],
        [0x3000, 0x1000, "present"],
        [0x4000, 0x1000, "elided"],
        [0x5000, 0x1000, "unmapped"],
      ]);
    });
  }

  it("reads through sources that answer later", async () => {
    const bytes = buildElf({ type: ET_CORE, segments: loads });
    const later = {
      ...bytesSource(bytes, "core"),
      read: async (at: number, into: Uint8Array) => bytesSource(bytes).read(at, into),
    };
    const core = await ProcessCore.open(later);
    const into = new Uint8Array(0x4000);
    expect(await core.read(0x1000, into)).toBe(0x3000);
    expect(into.subarray(0, 0x1000)).toEqual(fill(0x1000, 1));
    expect(into.subarray(0x2000, 0x3000)).toEqual(fill(0x1000, 3));
  });

  it("a cut file", async () => {
    const bytes = buildElf({
      type: ET_CORE,
      segments: [{ type: PT_LOAD, vaddr: 0x1000n, data: fill(0x1000, 1), memsz: 0x3000 }],
    });
    const core = await ProcessCore.open(bytesSource(bytes.subarray(0, -0x400), "core"));
    expect(core.missing).toBe(0x400);
    expect([...core.pieces(0x1000, 0x4000)].map(({ presence, length }) => [presence, length])).toEqual([
      ["present", 0xc00],
      ["truncated", 0x400],
      ["elided", 0x2000],
    ]);
    expect(await core.read(0x1000, new Uint8Array(0x1000))).toBe(0xc00);
  });

  it("overlapping segments: the lower one keeps its bytes", async () => {
    const segments = [
      { type: PT_LOAD, vaddr: 0x1800n, data: fill(0x1000, 2) },
      { type: PT_LOAD, vaddr: 0x1000n, data: fill(0x1000, 1) },
    ];
    const core = await ProcessCore.open(bytesSource(buildElf({ type: ET_CORE, segments }), "core"));
    const into = new Uint8Array(0x1800);
    expect(await core.read(0x1000, into)).toBe(0x1800);
    expect(into).toEqual(Uint8Array.from([...fill(0x1000, 1), ...fill(0x1000, 2).subarray(0x800)]));
  });

  it("more segments than e_phnum can count, with the count lost at the end too", async () => {
    const count = 70_000;
    const notes = encodeNote("CORE", NT_AUXV, new Uint8Array(32), "little");
    const segments: SegmentDescription[] = [{ type: PT_NOTE, data: notes }];
    for (let i = 0; i < count; i += 1) {
      segments.push({
        type: PT_LOAD,
        vaddr: BigInt(0x10000 + i * 0x2000),
        data: Uint8Array.of(i & 0xff, i >> 8),
      });
    }
    const bytes = buildElf({ type: ET_CORE, segments });
    for (const whole of [bytes, bytes.subarray(0, -200)]) {
      const core = await ProcessCore.open(bytesSource(whole, "core"));
      expect(core.elf.segments.length).toBe(count + 1);
      const into = new Uint8Array(2);
      expect(await core.read(0x10000 + 65_999 * 0x2000, into)).toBe(2);
      expect([...into]).toEqual([65_999 & 0xff, (65_999 >> 8) & 0xff]);
    }
  });
});

describe("damaged cores", () => {
  const file = (count: bigint, ...rest: bigint[]): Uint8Array =>
    new Uint8Array(BigUint64Array.from([count, 4096n, ...rest]).buffer);
  const coreWith = (descriptor: Uint8Array): Uint8Array =>
    buildElf({
      type: ET_CORE,
      segments: [{ type: PT_NOTE, data: encodeNote("CORE", NT_FILE, descriptor, "little") }],
    });

  it("mappings that don't fit into NT_FILE", async () => {
    await expect(ProcessCore.open(bytesSource(coreWith(file(1n << 40n))))).rejects.toMatchObject({
      code: "elf/core/note",
    });
    await expect(ProcessCore.open(bytesSource(coreWith(file(1n, 1n))))).rejects.toMatchObject({
      code: "elf/core/note",
    });
  });

  it("a program is no core, a core without AT_PHDR has no program", async () => {
    await expect(ProcessCore.open(bytesSource(buildElf({ type: 3 })))).rejects.toMatchObject({
      code: "elf/core/type",
    });
    const core = await ProcessCore.open(bytesSource(buildElf({ type: ET_CORE })));
    await expect(core.mainImage()).rejects.toMatchObject({ code: "elf/core/no-auxv" });
  });
});
