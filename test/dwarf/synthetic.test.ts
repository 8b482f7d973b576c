import { describe, expect, it } from "vitest";
import type { ByteOrder } from "../../src/binary/layout.js";
import * as dw from "../../src/dwarf/constants.js";
import { WriteBuffer } from "../../src/dwarf/write-buffer.js";
import { buildElf } from "../elf/elf-writer.js";
import {
  type AttributeDescription,
  buildDwarf,
  type DieDescription,
  type UnitDescription,
} from "./describe.js";
import { address, elfWith, name, open, present, program, unitOf } from "./synthetic.js";

const orders: readonly ByteOrder[] = ["little", "big"];
const shapes = [2, 3, 4, 5].flatMap((version) =>
  [false, true].flatMap((is64) => [4, 8].map((addressSize) => ({ version, is64, addressSize }))),
);

describe("DWARF of every version, width and byte order", () => {
  for (const order of orders) {
    for (const shape of shapes) {
      const title = `version ${shape.version}, ${shape.is64 ? 64 : 32}-bit DWARF, addresses of ${shape.addressSize}, ${order}`;
      it(title, async () => {
        const info = await open(elfWith(program(order, shape), order, shape.addressSize === 8 ? 64 : 32));
        const counter = info.variable("counter");
        expect(counter).toMatchObject({ address: 0x4010n, external: true, unit: "first.c" });
        expect(info.variable("function::state")).toMatchObject({ address: 0x4020n, external: false });
        expect(info.variable("state")).toBeUndefined();
        const box = counter?.type.target;
        expect(box?.isDeclaration).toBe(true);
        expect(box?.size).toBe(24);
        expect(box?.field("head")).toMatchObject({ offset: 4, size: 4 });
        expect(box?.field("narrow")).toMatchObject({ offset: 8, size: 4 });
        expect(box?.field("wide")).toBeUndefined();
        expect(() => box?.field("bits")).toThrow(expect.objectContaining({ code: "dwarf/bit-field" }));
        expect(info.type("structure", "box")?.size).toBe(24);
        expect(info.type("union", "box")).toBeUndefined();
      });
    }
  }

  it("names written in line, and expressions in any block", async () => {
    const shape = { version: 5, is64: false, addressSize: 8 };
    for (const form of [dw.DW_FORM_block, dw.DW_FORM_block2, dw.DW_FORM_block4]) {
      const info = await open(elfWith(program("little", shape, form, dw.DW_FORM_string), "little", 64));
      expect(info.variable("counter")?.address).toBe(0x4010n);
      expect(info.type("structure", "box")?.size).toBe(24);
    }
  });
});

describe("names that several entries have", () => {
  const variable = (at: number, ...more: AttributeDescription[]): DieDescription => ({
    tag: dw.DW_TAG_variable,
    attributes: [name("shared"), ...more, [dw.DW_AT_location, dw.DW_FORM_exprloc, address(at, 8, "little")]],
  });
  const structure = (size: number): DieDescription => ({
    tag: dw.DW_TAG_structure_type,
    attributes: [name("twin"), [dw.DW_AT_byte_size, dw.DW_FORM_data1, size]],
    children: [],
  });

  it("an external variable goes before static ones", async () => {
    const units = [unitOf(variable(1)), unitOf(variable(2, present(dw.DW_AT_external)))];
    const info = await open(elfWith(units, "little", 64));
    expect(info.variable("shared")?.address).toBe(2n);
    expect(info.variables("shared").map(({ address: at }) => at)).toEqual([1n, 2n]);
  });

  it("static variables of several units are ambiguous", async () => {
    const info = await open(elfWith([unitOf(variable(1)), unitOf(variable(2))], "little", 64));
    expect(() => info.variable("shared")).toThrow(
      expect.objectContaining({ code: "dwarf/ambiguous-variable" }),
    );
  });

  it("types that differ are ambiguous, equal ones are one", async () => {
    const same = await open(elfWith([unitOf(structure(8)), unitOf(structure(8))], "little", 64));
    expect(same.type("structure", "twin")?.size).toBe(8);
    const other = await open(elfWith([unitOf(structure(8)), unitOf(structure(9))], "little", 64));
    expect(() => other.type("structure", "twin")).toThrow(
      expect.objectContaining({ code: "dwarf/ambiguous-type" }),
    );
  });

  it("an empty name is no name: what is declared by it is defined nowhere", async () => {
    const unnamed = (...more: AttributeDescription[]): DieDescription => ({
      tag: dw.DW_TAG_structure_type,
      attributes: [name(""), ...more],
    });
    const declared: DieDescription = { ...unnamed(present(dw.DW_AT_declaration)), label: "declared" };
    const defined = unnamed([dw.DW_AT_byte_size, dw.DW_FORM_data1, 8]);
    const user: DieDescription = {
      tag: dw.DW_TAG_variable,
      attributes: [
        name("it"),
        [dw.DW_AT_type, dw.DW_FORM_ref4, "declared"],
        [dw.DW_AT_location, dw.DW_FORM_exprloc, address(16, 8, "little")],
      ],
    };
    const info = await open(elfWith([unitOf(defined, declared, user)], "little", 64));
    expect(() => info.variable("it")?.type.size).toThrow(
      expect.objectContaining({ code: "dwarf/incomplete-type" }),
    );
  });

  it("a thread-local or optimised location is no address", async () => {
    const odd: DieDescription = {
      tag: dw.DW_TAG_variable,
      attributes: [
        name("shared"),
        [dw.DW_AT_location, dw.DW_FORM_exprloc, [...address(1, 8, "little"), 0x9f]],
      ],
    };
    expect((await open(elfWith([unitOf(odd)], "little", 64))).variable("shared")).toBeUndefined();
  });
});

describe("strings and addresses by number", () => {
  const forms = [dw.DW_FORM_strx, dw.DW_FORM_strx1, dw.DW_FORM_strx2, dw.DW_FORM_strx3, dw.DW_FORM_strx4];
  for (const order of orders) {
    for (const is64 of [false, true]) {
      it(`${is64 ? 64 : 32}-bit DWARF, ${order} endian, every width`, async () => {
        const word = is64 ? 8 : 4;
        const str = new TextEncoder().encode("\0first\0second\0");
        const [strOffsets, addresses] = [new WriteBuffer(1 << 8, order), new WriteBuffer(1 << 8, order)];
        /** Starts a contribution of `count` entries of `size`; returns where its entries start. */
        const contribution = (
          out: WriteBuffer,
          count: number,
          size: number,
          tail: readonly number[],
        ): number => {
          if (is64) out.unsigned(0xffffffff, 4);
          out.unsigned(4 + count * size, word);
          out.unsigned(5, 2);
          out.raw(Uint8Array.from(tail));
          return out.length;
        };
        const units = forms.map((form, i): UnitDescription => {
          // every unit has the two names in the other order
          const places = i % 2 === 0 ? [1, 7] : [7, 1];
          const strBase = contribution(strOffsets, 2, word, [0, 0]);
          for (const place of places) strOffsets.unsigned(place, word);
          const addrBase = contribution(addresses, 2, 8, [8, 0]);
          addresses.unsigned(0x1000 * i, 8);
          addresses.unsigned(0x1000 * i + 8, 8);
          const variable = (index: number): DieDescription => ({
            tag: dw.DW_TAG_variable,
            attributes: [
              [dw.DW_AT_name, form, index],
              [dw.DW_AT_location, dw.DW_FORM_exprloc, [dw.DW_OP_addrx, index]],
            ],
          });
          return {
            is64,
            root: {
              tag: dw.DW_TAG_compile_unit,
              attributes: [
                [dw.DW_AT_str_offsets_base, dw.DW_FORM_sec_offset, strBase],
                [dw.DW_AT_addr_base, dw.DW_FORM_sec_offset, addrBase],
              ],
              children: [variable(0), variable(1)],
            },
          };
        });
        const { info, abbrev } = buildDwarf(units, order);
        const sections = [
          { name: ".debug_info", data: info },
          { name: ".debug_abbrev", data: abbrev },
          { name: ".debug_str", data: str },
          { name: ".debug_str_offsets", data: strOffsets.bytes() },
          { name: ".debug_addr", data: addresses.bytes() },
        ];
        const found = await open(buildElf({ order, sections }));
        const of = (text: string): bigint[] => found.variables(text).map(({ address: at }) => at);
        expect(of("first")).toEqual([0n, 0x1008n, 0x2000n, 0x3008n, 0x4000n]);
        expect(of("second")).toEqual([8n, 0x1000n, 0x2008n, 0x3000n, 0x4008n]);
        expect(of("irst")).toEqual([]);
      });
    }
  }
});

describe("type units", () => {
  for (const version of [4, 5]) {
    it(`version ${version}`, async () => {
      const signature = 0xfedc_ba98_7654_3210n;
      const typeUnit: UnitDescription = {
        version,
        type: dw.DW_UT_type,
        signature,
        typeLabel: "there",
        root: {
          tag: dw.DW_TAG_type_unit,
          attributes: [],
          children: [
            {
              tag: dw.DW_TAG_structure_type,
              label: "there",
              attributes: [name("box"), [dw.DW_AT_byte_size, dw.DW_FORM_data1, 12]],
              children: [],
            },
          ],
        },
      };
      const user = unitOf(
        {
          tag: dw.DW_TAG_structure_type,
          label: "here",
          attributes: [present(dw.DW_AT_declaration), [dw.DW_AT_signature, dw.DW_FORM_ref_sig8, signature]],
        },
        {
          tag: dw.DW_TAG_variable,
          attributes: [
            name("it"),
            [dw.DW_AT_type, dw.DW_FORM_ref4, "here"],
            [dw.DW_AT_location, dw.DW_FORM_exprloc, address(16, 8, "little")],
          ],
        },
      );
      const info = await open(elfWith([{ ...user, version }, typeUnit], "little", 64));
      expect(info.variable("it")?.type.size).toBe(12);
      expect(info.type("structure", "box")?.size).toBe(12);
    });
  }
});
