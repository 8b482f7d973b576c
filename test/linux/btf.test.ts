import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../src/findings/errors.js";
import { Btf, BTF_KIND } from "../../src/linux/btf.js";
import { BtfTypes } from "../../src/linux/btf-types.js";
import { readUpTo } from "../../src/linux/read.js";
import { openKernel } from "../../src/linux/kernel.js";
import { findMember, type KernelType } from "../../src/linux/types.js";
import { openFixture } from "./fixture.js";
import { rounds } from "../shared.js";

/** A block of BTF made of types: [name, kind, flag, count, size or type, words that follow]. */
type Made = readonly [string, number, boolean, number, number, readonly number[]];

function block(types: readonly Made[], names: readonly string[] = [], firstString = 0): Uint8Array {
  const strings = [""];
  const offsets = new Map<string, number>([["", 0]]);
  let length = firstString === 0 ? 1 : 0;
  if (firstString > 0) strings.length = 0;
  const offsetOf = (name: string): number => {
    const known = offsets.get(name);
    if (known !== undefined) return known;
    const at = firstString + length;
    offsets.set(name, at);
    strings.push(name);
    length += name.length + 1;
    return at;
  };
  for (const name of names) offsetOf(name);
  const words: number[] = [];
  for (const [name, kind, flag, count, sizeOrType, rest] of types)
    words.push(offsetOf(name), ((kind << 24) | count | (flag ? 0x8000_0000 : 0)) >>> 0, sizeOrType, ...rest);
  const text = `${strings.join("\0")}\0`;
  const out = new Uint8Array(24 + words.length * 4 + text.length);
  const view = new DataView(out.buffer);
  view.setUint16(0, 0xeb9f, true);
  view.setUint8(2, 1);
  for (const [i, value] of [24, 0, words.length * 4, words.length * 4, text.length].entries())
    view.setUint32(4 + 4 * i, value, true);
  for (const [i, word] of words.entries()) view.setUint32(24 + 4 * i, word, true);
  for (let i = 0; i < text.length; i += 1) out[24 + words.length * 4 + i] = text.charCodeAt(i);
  return out;
}

const INT: Made = ["int", BTF_KIND.int, false, 0, 4, [(1 << 24) | 32]];
// names: "\0a\0b\0c\0" put first, so that members can refer to them
const NAMES = ["a", "b", "c"];
const A = 1;
const B = 3;
const C = 5;

describe("BTF", () => {
  it("gives structures, anonymous members, bit-fields, arrays and typedefs", () => {
    const types = new BtfTypes(
      new Btf(
        block(
          [
            INT,
            ["", BTF_KIND.union, false, 1, 4, [B, 1, 0]],
            ["outer", BTF_KIND.struct, true, 3, 16, [A, 1, (3 << 24) | 5, 0, 2, 32, C, 4, 64]],
            ["", BTF_KIND.array, false, 0, 0, [1, 1, 2]],
            ["outer_t", BTF_KIND.typedef, false, 0, 3, []],
          ],
          NAMES,
        ),
      ),
      8,
    );
    const outer = types.find("typedef", "outer_t");
    expect(outer?.name).toBe("outer");
    expect(outer && findMember(outer, "a")).toMatchObject({ bitOffset: 5, bitSize: 3 });
    expect(outer && findMember(outer, "b")).toMatchObject({ bitOffset: 32 });
    expect(outer && findMember(outer, "c[1]")).toMatchObject({ bitOffset: 96 });
    expect(outer && findMember(outer, "c[2]")).toBeUndefined();
    expect(types.find("struct", "int")).toBeUndefined();
    expect(types.find("int", "int")?.signed).toBe(true);
  });

  it("of a module goes on from the kernel's own", () => {
    const base = new Btf(block([INT], NAMES));
    const split = new Btf(
      block([["own", BTF_KIND.struct, false, 1, 4, [A, 1, 0]]], [], base.stringEnd),
      base,
    );
    const types = new BtfTypes(split, 8);
    const own = types.find("struct", "own");
    expect(own && findMember(own, "a")?.type.name).toBe("int");
    expect(types.find("int", "int")?.size).toBe(4);
  });

  it("with types that refer to themselves ends", () => {
    const types = new BtfTypes(
      new Btf(
        block(
          [
            ["loop", BTF_KIND.typedef, false, 0, 1, []],
            ["self", BTF_KIND.struct, false, 3, 8, [0, 2, 0, 0, 2, 0, 0, 2, 0]],
            ["array", BTF_KIND.array, false, 0, 0, [3, 3, 0xffff_ffff]],
            ["holder", BTF_KIND.struct, false, 1, 8, [A, 3, 0]],
          ],
          NAMES,
        ),
      ),
      8,
    );
    expect(types.find("typedef", "loop")).toBeDefined();
    const self = types.find("struct", "self");
    expect(self && findMember(self, "missing")).toBeUndefined();
    const holder = types.find("struct", "holder");
    expect(holder && findMember(holder, "a[5]")).toBeDefined();
  });

  it("cut anywhere is refused with a sentence, never read beyond its end", async () => {
    const guest = await openFixture("hvmlinux-6.1");
    const kernel = await openKernel(guest);
    const start = kernel.symbol("__start_BTF") ?? 0n;
    const bytes = await readUpTo(kernel.space, start, Number((kernel.symbol("__stop_BTF") ?? 0n) - start));
    const announced = new DataView(bytes.buffer, bytes.byteOffset);
    const end = 24 + announced.getUint32(16, true) + announced.getUint32(20, true);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: end - 1 }), (cut) => {
        expect(() => new Btf(bytes.subarray(0, cut))).toThrow(FormatError);
      }),
    );
    await guest.close?.();
  });

  it("that is damaged ends in a sentence or an answer", () => {
    const whole = block(
      [
        INT,
        ["", BTF_KIND.union, false, 1, 4, [B, 1, 0]],
        ["outer", BTF_KIND.struct, true, 3, 16, [A, 1, 5, 0, 2, 32, C, 4, 64]],
        ["", BTF_KIND.array, false, 0, 0, [1, 1, 2]],
        ["kinds", BTF_KIND.enum64, true, 1, 8, [A, 5, 6]],
        ["", BTF_KIND.pointer, false, 0, 3, []],
      ],
      NAMES,
    );
    const walk = (type: KernelType | undefined, depth: number): void => {
      if (type === undefined || depth > 6) return;
      for (const member of type.members().slice(0, 50)) walk(member.type, depth + 1);
      type.enumerators();
      walk(type.target(), depth + 1);
    };
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (edits) => {
          const bytes = whole.slice();
          for (const [at, value] of edits) bytes[at] = value;
          try {
            const types = new BtfTypes(new Btf(bytes), 8);
            for (const name of ["outer", "kinds", "int"]) walk(types.find("struct", name), 0);
            walk(types.type(6), 0);
          } catch (error) {
            expect(error).toBeInstanceOf(FormatError);
          }
        },
      ),
      { numRuns: rounds(500) },
    );
  });
});
