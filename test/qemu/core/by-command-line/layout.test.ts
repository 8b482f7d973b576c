import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ProcessMapping, ProcessMemory } from "../../../../src/elf/process-memory.js";
import { bytesSource } from "../../../../src/io/byte-source.js";
import type { AskedBlock } from "../../../../src/qemu/command-line/memory.js";
import { MACHINES } from "../../../../src/qemu/machines.js";
import { placeBlocks } from "../../../../src/qemu/core/by-command-line/address-space.js";
import { mappingsOf, waysToMap } from "../../../../src/qemu/core/by-command-line/mapped-blocks.js";

const MIB = 1 << 20;
const block = (name: string, size: number, more: Partial<AskedBlock> = {}): AskedBlock => ({
  name,
  size,
  isShared: false,
  isLeftOut: false,
  ...more,
});

/** A process with mappings `[start, size, writable, path]` in MiB. */
function process(all: readonly (readonly [number, number, boolean?, string?])[]): ProcessMemory {
  const mappings = all.map(([start, size, writable = true]): ProcessMapping => {
    const from = start * MIB;
    return { start: from, end: from + (size === 0 ? 4096 : size * MIB), writable };
  });
  return {
    name: "process",
    source: bytesSource(new Uint8Array(0), "process"),
    files: all.flatMap(([start, size, , path]) =>
      path === undefined ? [] : [{ start: start * MIB, end: (start + size) * MIB, fileOffset: 0, path }],
    ),
    mappings,
    read: () => 0,
    pieces: () => [],
  };
}

const hosts = (memory: ProcessMemory, wanted: AskedBlock): number[] =>
  mappingsOf(memory, wanted).map(({ host }) => host / MIB);

describe("mappings that can be a block", () => {
  it("are of its size, aligned, with an unreadable page after it", () => {
    const memory = process([
      [100, 64],
      [201, 64],
      [300, 64],
      [364, 0, false],
      [400, 128],
    ]);
    expect(hosts(memory, block("ram", 64 * MIB))).toEqual([300]);
    expect(hosts(memory, block("ram", 128 * MIB))).toEqual([400]);
    expect(hosts(memory, block("ram", 1024 * MIB))).toEqual([]);
  });

  it("may be parted by the kernel, or joined to a neighbour", () => {
    const parted = process([
      [100, 8],
      [108, 40],
      [148, 16],
    ]);
    expect(hosts(parted, block("ram", 64 * MIB))).toEqual([100]);
    expect(hosts(parted, block("ram", 56 * MIB))).toEqual([108]);
    const joined = process([[100, 72]]);
    expect(hosts(joined, block("ram", 64 * MIB))).toEqual([100, 108]);
  });

  it("are of the kind of its backend", () => {
    const memory = process([
      [100, 64],
      [200, 64, true, "/memfd:memory-backend-memfd (deleted)"],
      [300, 64, true, "/srv/vm/ram0"],
      [400, 64, true, "/hugepages/qemu_back_mem._objects_m.Xy1 (deleted)"],
      [500, 64, true, "/usr/lib/libc.so"],
    ]);
    const size = 64 * MIB;
    expect(hosts(memory, block("a", size))).toEqual([100, 200]);
    expect(hosts(memory, block("a", size, { isShared: true }))).toEqual([200]);
    expect(hosts(memory, block("a", size, { isShared: true, path: "/srv/vm/ram0" }))).toEqual([300]);
    expect(hosts(memory, block("a", size, { isShared: true, path: "vm/ram0" }))).toEqual([300]);
    expect(hosts(memory, block("a", size, { isShared: true, path: "/hugepages" }))).toEqual([400]);
    expect(hosts(memory, block("a", size, { isShared: true, path: "/srv/vm/ram1" }))).toEqual([]);
  });

  it("may be a file's that a core has no segment of", () => {
    const memory = process([[100, 64]]);
    const files = [{ start: 300 * MIB, end: 364 * MIB, fileOffset: 0, path: "/srv/vm/ram0" }];
    const wanted = block("a", 64 * MIB, { isShared: true, path: "/srv/vm/ram0" });
    expect(hosts({ ...memory, files }, wanted)).toEqual([300]);
    expect(hosts({ ...memory, files }, block("a", 64 * MIB))).toEqual([100]);
  });

  it("are taken in all ways, none twice, up to a limit", () => {
    const memory = process([
      [100, 64],
      [200, 64],
      [300, 64],
    ]);
    const choices = ["a", "b", "c"].map((name) => mappingsOf(memory, block(name, 64 * MIB)));
    const ways = waysToMap(choices) ?? [];
    expect(ways).toHaveLength(6);
    for (const way of ways) expect(new Set(way.map(({ host }) => host)).size).toBe(3);
    expect(waysToMap([choices[0] ?? [], []])).toEqual([]);
    const many = process(Array.from({ length: 9 }, (_, i) => [100 + i * 100, 64] as const));
    expect(waysToMap(["a", "b"].map((name) => mappingsOf(many, block(name, 64 * MIB))))).toBeUndefined();
  });
});

describe("places of blocks", () => {
  const pc = MACHINES.find(({ kind }) => kind === "pc");
  if (pc === undefined) throw new Error("pc is known");

  it("cover all RAM once, parted at 4 GiB, whatever the blocks", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 1 << 20 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.double({ min: 0, max: 1, noNaN: true }), (pages, share) => {
        const blocks = pages.map((count, i) => ({ block: block(`b${i}`, count * 4096), host: i * 2 ** 40 }));
        const total = pages.reduce((sum, count) => sum + count * 4096, 0);
        const below = Math.max(4096, Math.min(total, 2 ** 32, Math.floor((total * share) / 4096) * 4096));
        const ranges = placeBlocks(pc, below, blocks);
        expect(ranges.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(total);
        for (const { start, end } of ranges)
          expect(start < end && (end <= below || start >= 2 ** 32)).toBe(true);
        for (const [i, { start }] of ranges.entries())
          expect(start).toBe(i === 0 ? 0 : Math.max(ranges[i - 1]?.end ?? 0, start));
        // the n-th byte of RAM is the n-th of the blocks
        let at = 0;
        for (const { mapped, offset, start, end } of ranges) {
          expect(start < below ? start : start - 2 ** 32 + below).toBe(at);
          const first = blocks.slice(0, blocks.indexOf(mapped)).reduce((sum, one) => sum + one.block.size, 0);
          expect(first + offset).toBe(at);
          at += end - start;
        }
      }),
    );
  });

  it("may be given", () => {
    const blocks = [
      { block: block("ram", 64 * MIB), host: 0 },
      { block: block("dimm", 32 * MIB), host: 2 ** 40 },
    ];
    const ranges = placeBlocks(pc, 48 * MIB, blocks, new Map([["dimm", 2 ** 33]]));
    expect(ranges.map(({ start, end, mapped, offset }) => [mapped.block.name, start, end, offset])).toEqual([
      ["ram", 0, 48 * MIB, 0],
      ["ram", 2 ** 32, 2 ** 32 + 16 * MIB, 48 * MIB],
      ["dimm", 2 ** 33, 2 ** 33 + 32 * MIB, 0],
    ]);
  });
});
