import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ByteOrder } from "../../src/binary/layout.js";
import * as dw from "../../src/dwarf/constants.js";
import { DebugInfo } from "../../src/dwarf/index.js";
import { ElfFile } from "../../src/elf/file.js";
import type { ElfBits } from "../../src/elf/layout.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { FormatError, GuestscopeError } from "../../src/io/errors.js";
import { buildElf } from "../elf/elf-writer.js";
import {
  Assembler,
  type AttributeDescription,
  buildDwarf,
  type DieDescription,
  type UnitDescription,
} from "./dwarf-writer.js";

const address = (value: number, size: number, order: ByteOrder): number[] => {
  const little = Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);
  return [dw.DW_OP_addr, ...(order === "little" ? little : little.toReversed())];
};

const name = (text: string, form = dw.DW_FORM_strp): AttributeDescription => [dw.DW_AT_name, form, text];
const present = (attribute: number): AttributeDescription => [attribute, dw.DW_FORM_flag_present, 1];

/** Two units: one declares `counter` and `struct box` and defines the former, the other defines the struct. */
function program(
  order: ByteOrder,
  shape: { version: number; is64: boolean; addressSize: number },
  location: number = dw.DW_FORM_exprloc,
  nameForm: number = dw.DW_FORM_strp,
): UnitDescription[] {
  const flag = (attribute: number): AttributeDescription =>
    shape.version >= 4 ? present(attribute) : [attribute, dw.DW_FORM_flag, 1];
  const block = shape.version >= 4 ? location : dw.DW_FORM_block1;
  const base: DieDescription = {
    tag: dw.DW_TAG_base_type,
    label: "int",
    attributes: [
      name("int", nameForm),
      [dw.DW_AT_byte_size, dw.DW_FORM_data1, 4],
      [dw.DW_AT_encoding, dw.DW_FORM_data1, 5],
    ],
  };
  const first: UnitDescription = {
    ...shape,
    root: {
      tag: dw.DW_TAG_compile_unit,
      attributes: [name("first.c")],
      children: [
        base,
        {
          tag: dw.DW_TAG_structure_type,
          label: "declared",
          attributes: [name("box"), flag(dw.DW_AT_declaration)],
        },
        {
          tag: dw.DW_TAG_pointer_type,
          label: "pointer",
          attributes: [[dw.DW_AT_type, dw.DW_FORM_ref4, "declared"]],
        },
        {
          tag: dw.DW_TAG_variable,
          label: "declaration",
          attributes: [
            name("counter", nameForm),
            [dw.DW_AT_type, dw.DW_FORM_ref4, "pointer"],
            flag(dw.DW_AT_external),
            flag(dw.DW_AT_declaration),
          ],
        },
        {
          tag: dw.DW_TAG_variable,
          attributes: [
            [dw.DW_AT_specification, dw.DW_FORM_ref4, "declaration"],
            [dw.DW_AT_location, block, address(0x4010, shape.addressSize, order)],
          ],
        },
        {
          tag: dw.DW_TAG_subprogram,
          attributes: [name("function", dw.DW_FORM_string)],
          children: [
            {
              tag: dw.DW_TAG_variable,
              attributes: [
                name("state", dw.DW_FORM_string),
                [dw.DW_AT_type, dw.DW_FORM_ref2, "int"],
                [dw.DW_AT_location, block, address(0x4020, shape.addressSize, order)],
              ],
            },
          ],
        },
      ],
    },
  };
  const inner: DieDescription = {
    tag: dw.DW_TAG_union_type,
    label: "unnamed",
    attributes: [[dw.DW_AT_byte_size, dw.DW_FORM_data1, 8]],
    children: [
      { tag: dw.DW_TAG_member, attributes: [name("narrow"), [dw.DW_AT_type, dw.DW_FORM_ref_addr, "int"]] },
    ],
  };
  const second: UnitDescription = {
    ...shape,
    root: {
      tag: dw.DW_TAG_compile_unit,
      attributes: [name("second.c")],
      children: [
        inner,
        {
          tag: dw.DW_TAG_structure_type,
          attributes: [name("box", nameForm), [dw.DW_AT_byte_size, dw.DW_FORM_udata, 24]],
          children: [
            {
              tag: dw.DW_TAG_member,
              attributes: [
                name("head"),
                [dw.DW_AT_type, dw.DW_FORM_ref_addr, "int"],
                [
                  dw.DW_AT_data_member_location,
                  block === dw.DW_FORM_block1 ? block : dw.DW_FORM_data2,
                  block === dw.DW_FORM_block1 ? [dw.DW_OP_plus_uconst, 4] : 4,
                ],
              ],
            },
            {
              tag: dw.DW_TAG_member,
              attributes: [
                [dw.DW_AT_type, dw.DW_FORM_ref4, "unnamed"],
                [dw.DW_AT_data_member_location, dw.DW_FORM_indirect, 8],
              ],
            },
            {
              tag: dw.DW_TAG_member,
              attributes: [
                name("bits"),
                [dw.DW_AT_type, dw.DW_FORM_ref_addr, "int"],
                [dw.DW_AT_bit_size, dw.DW_FORM_data1, 3],
                [dw.DW_AT_data_bit_offset, dw.DW_FORM_data1, 128],
              ],
            },
          ],
        },
      ],
    },
  };
  return [first, second];
}

function elfWith(units: readonly UnitDescription[], order: ByteOrder, bits: ElfBits): Uint8Array {
  const { info, types, abbrev, str } = buildDwarf(units, order);
  const sections = [
    { name: ".debug_info", data: info },
    { name: ".debug_abbrev", data: abbrev },
    { name: ".debug_str", data: str },
    ...(types.length === 0 ? [] : [{ name: ".debug_types", data: types }]),
  ];
  return buildElf({ bits, order, sections });
}

const open = async (bytes: Uint8Array): Promise<DebugInfo> =>
  DebugInfo.open(await ElfFile.open(bytesSource(bytes, "program")));

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

/** A unit with some entries below its own. */
const unitOf = (...children: DieDescription[]): UnitDescription => ({
  root: { tag: dw.DW_TAG_compile_unit, attributes: [name("unit.c")], children },
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
        const [strOffsets, addresses] = [new Assembler(order), new Assembler(order)];
        /** Starts a contribution of `count` entries of `size`; returns where its entries start. */
        const contribution = (
          out: Assembler,
          count: number,
          size: number,
          tail: readonly number[],
        ): number => {
          if (is64) out.unsigned(0xffffffff, 4);
          out.unsigned(4 + count * size, word);
          out.unsigned(5, 2);
          out.bytes(tail);
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
          { name: ".debug_str_offsets", data: strOffsets.finish() },
          { name: ".debug_addr", data: addresses.finish() },
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

describe("damaged DWARF", () => {
  const loops: Record<string, DieDescription[]> = {
    "a typedef of itself": [
      {
        tag: dw.DW_TAG_typedef,
        label: "loop",
        attributes: [name("loop"), [dw.DW_AT_type, dw.DW_FORM_ref4, "loop"]],
      },
    ],
    "a typedef and a qualifier in a circle": [
      {
        tag: dw.DW_TAG_typedef,
        label: "loop",
        attributes: [name("loop"), [dw.DW_AT_type, dw.DW_FORM_ref4, "const"]],
      },
      { tag: dw.DW_TAG_const_type, label: "const", attributes: [[dw.DW_AT_type, dw.DW_FORM_ref4, "loop"]] },
    ],
    "an array of itself": [
      {
        tag: dw.DW_TAG_array_type,
        label: "array",
        attributes: [[dw.DW_AT_type, dw.DW_FORM_ref4, "array"]],
        children: [{ tag: dw.DW_TAG_subrange_type, attributes: [[dw.DW_AT_count, dw.DW_FORM_data1, 2]] }],
      },
      { tag: dw.DW_TAG_typedef, attributes: [name("loop"), [dw.DW_AT_type, dw.DW_FORM_ref4, "array"]] },
    ],
  };
  for (const [title, dies] of Object.entries(loops)) {
    it(`${title} is told`, async () => {
      const info = await open(elfWith([unitOf(...dies)], "little", 64));
      expect(() => info.type("typedef", "loop")?.size).toThrow(
        expect.objectContaining({ code: "dwarf/reference-loop" }),
      );
    });
  }

  it("a structure that holds itself without a name is told", async () => {
    const die: DieDescription = {
      tag: dw.DW_TAG_structure_type,
      label: "self",
      attributes: [name("self"), [dw.DW_AT_byte_size, dw.DW_FORM_data1, 8]],
      children: [{ tag: dw.DW_TAG_member, attributes: [[dw.DW_AT_type, dw.DW_FORM_ref4, "self"]] }],
    };
    const info = await open(elfWith([unitOf(die)], "little", 64));
    expect(() => info.type("structure", "self")?.field("x")).toThrow(
      expect.objectContaining({ code: "dwarf/reference-loop" }),
    );
  });

  it("a variable that completes itself is told or not found", async () => {
    const die: DieDescription = {
      tag: dw.DW_TAG_variable,
      label: "self",
      attributes: [name("self"), [dw.DW_AT_specification, dw.DW_FORM_ref4, "self"]],
    };
    const info = await open(elfWith([unitOf(die)], "little", 64));
    expect(info.variable("self")).toBeUndefined();
  });

  it("the message names the section and the offset", async () => {
    const { info, abbrev, str } = buildDwarf([unitOf()], "little");
    info[4] = 77;
    const sections = [
      { name: ".debug_info", data: info },
      { name: ".debug_abbrev", data: abbrev },
      { name: ".debug_str", data: str },
    ];
    await expect(open(buildElf({ sections }))).rejects.toMatchObject({
      code: "dwarf/version",
      message: "DWARF version 77 is not 2 to 5",
      place: { source: "program", record: ".debug_info+0x4" },
    });
  });

  /** Asks for everything; whatever is thrown must be an error of this project. */
  async function useAll(bytes: Uint8Array): Promise<void> {
    try {
      const info = await open(bytes);
      for (const look of [
        () => info.variable("counter")?.type.target.size,
        () => info.variable("function::state")?.type.size,
        () => info.type("structure", "box")?.field("narrow"),
        () =>
          info
            .type("structure", "box")
            ?.members()
            .map(({ type }) => String(type)),
      ]) {
        try {
          look();
        } catch (error) {
          if (!(error instanceof GuestscopeError)) throw error;
          if (error instanceof FormatError) expect(error.place.source).toBe("program");
        }
      }
    } catch (error) {
      if (!(error instanceof GuestscopeError)) throw error;
      expect(error.place.source).toBe("program");
    }
  }

  for (const shape of [
    { version: 5, is64: false, addressSize: 8 },
    { version: 3, is64: true, addressSize: 4 },
  ]) {
    it(`every octet of version ${shape.version} changed in several ways`, async () => {
      const whole = elfWith(program("little", shape), "little", 64);
      for (let at = 0; at < whole.length; at += 1) {
        for (const value of [0, 0x7f, 0x80, 0xff, (whole[at] ?? 0) ^ 1]) {
          const damaged = whole.slice();
          damaged[at] = value;
          await useAll(damaged);
        }
      }
    });
  }

  it("cut anywhere", async () => {
    const whole = elfWith(program("big", { version: 4, is64: false, addressSize: 8 }), "big", 64);
    for (let length = 0; length < whole.length; length += 1) await useAll(whole.subarray(0, length));
  });

  it("sections of chance", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ maxLength: 60 }),
        async (tail, abbrev) => {
          const { info, str } = buildDwarf([unitOf()], "little");
          const data = Uint8Array.from([...info.subarray(0, 12), ...tail]);
          new DataView(data.buffer).setUint32(0, data.length - 4, true);
          const sections = [
            { name: ".debug_info", data },
            { name: ".debug_abbrev", data: abbrev },
            { name: ".debug_str", data: str },
          ];
          await useAll(buildElf({ sections }));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("many units with overlapping abbreviations end soon", async () => {
    const shape = { version: 4, is64: false, addressSize: 8 };
    const entries = Array.from({ length: 4000 }, (_, i) => [i + 1, 0x2e, 0, 0, 0])
      .flat()
      .map((v) => v % 128);
    const units: number[] = [];
    for (let i = 0; i < 2000; i += 1) {
      const offset = i * 5;
      units.push(12, 0, 0, 0, shape.version, 0, offset & 0xff, offset >> 8, 0, 0, 8, 1, 3, 0, 0, 0);
    }
    const text = new TextEncoder().encode("\0xx\0box\0");
    const sections = [
      { name: ".debug_info", data: Uint8Array.from(units) },
      { name: ".debug_abbrev", data: Uint8Array.from(entries) },
      { name: ".debug_str", data: text },
    ];
    const info = await open(buildElf({ sections }));
    expect(() => {
      for (const area of info.files[0]?.areas ?? []) for (const unit of area.units()) void unit.abbrevs;
    }).toThrow(expect.objectContaining({ code: "dwarf/abbrev" }));
  });
});
