import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../../src/findings/errors.js";
import type { KernelMember, KernelType } from "../../../src/linux/types.js";
import { decodeOrcEntry, type OrcLayout, orcLayout, withNumbering } from "../../../src/linux/unwind/orc.js";
import { OrcTable } from "../../../src/linux/unwind/orc-table.js";
import type { OrcEntry } from "../../../src/linux/unwind/orc.js";

const INT: KernelType = {
  kind: "int",
  name: "u16",
  size: 2,
  signed: true,
  count: 0,
  target: () => undefined,
  members: () => [],
  enumerators: () => [],
};

/** `struct orc_entry` as a kernel's own types describe it: offsets, then bit fields from bit 32 on. */
function orcStruct(fields: readonly (readonly [string, number])[]): KernelType {
  let bit = 32;
  const members: KernelMember[] = [
    { name: "sp_offset", bitOffset: 0, type: INT },
    { name: "bp_offset", bitOffset: 16, type: INT },
    ...fields.map(([name, bitSize]) => {
      const bitOffset = bit;
      bit += bitSize;
      return { name, bitOffset, bitSize, type: INT };
    }),
  ];
  return { ...INT, kind: "struct", name: "orc_entry", size: 6, members: () => members };
}

const OLD = [
  ["sp_reg", 4],
  ["bp_reg", 4],
  ["type", 2],
  ["end", 1],
] as const;
const MIDDLE = [
  ["sp_reg", 4],
  ["bp_reg", 4],
  ["type", 2],
  ["signal", 1],
  ["end", 1],
] as const;
const NEW = [
  ["sp_reg", 4],
  ["bp_reg", 4],
  ["type", 3],
  ["signal", 1],
] as const;

function bytes(spOffset: number, bpOffset: number, word: number): Uint8Array {
  const raw = Buffer.alloc(6);
  raw.writeInt16LE(spOffset, 0);
  raw.writeInt16LE(bpOffset, 2);
  raw.writeUInt16LE(word, 4);
  return raw;
}

const decode = (layout: OrcLayout, word: number): OrcEntry => decodeOrcEntry(layout, bytes(16, -16, word));

describe("entries of the unwind tables", () => {
  it.each([
    ["5.10.0", OLD],
    ["6.3.0", MIDDLE],
    ["6.12.0", NEW],
  ] as const)("%s: the layout by release is the one by the kernel's own types", (release, fields) => {
    expect(orcLayout(undefined, release)).toEqual(orcLayout(orcStruct(fields), release));
  });

  it("until 6.2 the end of a stack is a mark on an entry without a register", () => {
    const layout = orcLayout(orcStruct(OLD), "6.1.0-56-amd64");
    // sp_reg 5, bp_reg 1, type 0
    expect(decode(layout, 0x15)).toEqual({
      sp: "sp",
      spOffset: 16,
      bp: "prevSp",
      bpOffset: -16,
      type: "call",
      signal: false,
    });
    expect(decode(layout, 0x105)).toMatchObject({ sp: "sp", type: "regs", signal: true });
    expect(decode(layout, 0x209)).toMatchObject({ sp: "spIndirect", type: "partial", signal: true });
    expect(decode(layout, 0x400)).toMatchObject({ sp: "undefined", type: "end" });
    expect(decode(layout, 0x000)).toMatchObject({ sp: "undefined", type: "undefined" });
    expect(decode(layout, 0x305)).toMatchObject({ type: "unknown" });
  });

  it("from 6.3 an entry says whether it leads to interrupted code", () => {
    const layout = orcLayout(orcStruct(MIDDLE), "6.3.1");
    expect(decode(layout, 0x105)).toMatchObject({ type: "regs", signal: false });
    expect(decode(layout, 0x505)).toMatchObject({ type: "regs", signal: true });
    expect(decode(layout, 0x800)).toMatchObject({ type: "end" });
  });

  it("from 6.4 the values of types are others", () => {
    const layout = orcLayout(orcStruct(NEW), "6.12.0");
    expect(decode(layout, 0x000)).toMatchObject({ type: "undefined" });
    expect(decode(layout, 0x100)).toMatchObject({ type: "end" });
    expect(decode(layout, 0x215)).toMatchObject({ type: "call", sp: "sp", bp: "prevSp" });
    expect(decode(layout, 0xb05)).toMatchObject({ type: "regs", signal: true });
    expect(decode(layout, 0xc05)).toMatchObject({ type: "partial", signal: true });
    expect(decode(layout, 0x705)).toMatchObject({ type: "unknown" });
    expect(decode(layout, 0x20f)).toMatchObject({ sp: "unknown" });
  });

  it("which numbers registers have is told by what most entries count from", () => {
    const layout = orcLayout(orcStruct(NEW), "7.2.0");
    const table = (word: number): Uint8Array =>
      Buffer.concat(Array.from({ length: 100 }, (_, i) => bytes(8, 0, i % 10 === 0 ? 0x204 : word)));
    expect(decode(withNumbering(layout, table(0x205)), 0x215)).toMatchObject({ sp: "sp", bp: "prevSp" });
    expect(decode(withNumbering(layout, table(0x203)), 0x283)).toMatchObject({ sp: "sp", bp: "prevSp" });
    expect(decode(withNumbering(layout, table(0x203)), 0x201)).toMatchObject({ sp: "ax" });
  });

  it("a structure that can't be one is not followed", () => {
    const strange = { ...orcStruct(NEW), size: 8 };
    expect(orcLayout(strange, "6.12.0")).toEqual(orcLayout(undefined, "6.12.0"));
  });
});

const IPS = 0xffff_ffff_8200_0000n;
const ENTRIES = 0xffff_ffff_8300_0000n;
const TEXT = 0xffff_ffff_8100_0000n;

/** A table over code at these distances from TEXT; entry i has sp_offset 8·i. */
function table(distances: readonly number[]): { table: OrcTable; ips: Buffer; reads: () => number } {
  const ips = Buffer.alloc(distances.length * 4);
  for (const [i, distance] of distances.entries())
    ips.writeInt32LE(Number(TEXT - IPS) + distance - 4 * i, 4 * i);
  const entries = Buffer.concat(distances.map((_, i) => bytes(8 * i, 0, 0x205)));
  let reads = 0;
  const space = {
    read(va: bigint, into: Uint8Array): number {
      reads += 1;
      for (const [base, part] of [
        [IPS, ips],
        [ENTRIES, entries],
      ] as const) {
        const at = Number(va - base);
        if (at < 0 || at >= part.length) continue;
        const found = part.subarray(at, at + into.length);
        into.set(found);
        return found.length;
      }
      return 0;
    },
  };
  const place = { ips: IPS, entries: ENTRIES, count: distances.length };
  return { table: new OrcTable(space, orcLayout(undefined, "6.12.0"), place), ips, reads: () => reads };
}

describe("look-up in an unwind table", () => {
  it("finds the last entry at or before an address", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(5000), { minLength: 1, maxLength: 300 }),
        fc.nat(6000),
        async (list, at) => {
          const sorted = list.toSorted((a, b) => a - b);
          const { table: made, reads } = table(sorted);
          const found = await made.find(TEXT + BigInt(at));
          const expected = sorted.findLastIndex((distance) => distance <= at);
          expect(found?.spOffset).toBe(expected === -1 ? undefined : 8 * expected);
          expect(reads()).toBeLessThanOrEqual(Math.ceil(Math.log2(list.length + 1)) + 1);
        },
      ),
    );
  });

  it("a table that jumps to and fro is an error or an answer, after a few looks", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(5000), { minLength: 1, maxLength: 300 }),
        fc.nat(6000),
        async (list, at) => {
          const { table: made, reads } = table(list);
          await made
            .find(TEXT + BigInt(at))
            .catch((error: unknown) => expect(error).toBeInstanceOf(FormatError));
          expect(reads()).toBeLessThanOrEqual(10);
        },
      ),
    );
    const { table: made } = table([100, 4000, 200, 3000, 150, 10]);
    await expect(made.find(TEXT + 120n)).rejects.toThrow(
      /^unwind entry 1 for 0xffffffff81000fa0 is out of order$/,
    );
  });

  it("says that a part of it is missing", async () => {
    const place = { ips: IPS + 0x10_0000n, entries: ENTRIES, count: 1 << 30 };
    const made = new OrcTable({ read: () => 0 }, orcLayout(undefined, "6.12.0"), place);
    await expect(made.find(TEXT)).rejects.toThrow(AbsentError);
  });
});
