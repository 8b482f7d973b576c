import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as dw from "../../src/dwarf/constants.js";
import { FormatError, GuestscopeError } from "../../src/findings/errors.js";
import { buildElf } from "../elf/elf-writer.js";
import { type AttributeDescription, buildDwarf, type DieDescription } from "./describe.js";
import { address, elfWith, name, open, program, unitOf } from "./synthetic.js";
import { rounds } from "../shared.js";

/** A value for an attribute of any form. */
function valueOf(form: string): AttributeDescription[2] {
  if (/block|exprloc/.test(form)) return [1, 2, 3];
  if (/_(ref1|ref2|ref4|ref8|ref_addr)$/.test(form)) return "behind";
  return /^DW_FORM_(string|strp)$/.test(form) ? "text" : 1;
}

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
    it(`every byte of version ${shape.version} changed in several ways`, async () => {
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

  /** A variable behind an attribute of every form that there is, and a structure that says where the next entry is. */
  const everyForm: DieDescription[] = [
    {
      tag: dw.DW_TAG_structure_type,
      attributes: [
        name("box"),
        [dw.DW_AT_byte_size, dw.DW_FORM_data1, 8],
        [dw.DW_AT_sibling, dw.DW_FORM_ref4, "behind"],
      ],
      children: [
        {
          tag: dw.DW_TAG_member,
          attributes: [name("narrow"), [dw.DW_AT_type, dw.DW_FORM_ref4, "behind"]],
        },
      ],
    },
    {
      tag: dw.DW_TAG_base_type,
      label: "behind",
      attributes: [name("int"), [dw.DW_AT_byte_size, dw.DW_FORM_data1, 4]],
    },
    {
      tag: dw.DW_TAG_variable,
      attributes: [
        ...Object.entries(dw).flatMap(([key, form], i): AttributeDescription[] =>
          key.startsWith("DW_FORM_") ? [[0x3f00 + i, form, valueOf(key)]] : [],
        ),
        name("counter"),
        [dw.DW_AT_type, dw.DW_FORM_ref4, "behind"],
        [dw.DW_AT_location, dw.DW_FORM_exprloc, address(0x4010, 8, "little")],
      ],
    },
  ];

  it("every form is passed over, and every byte changed", async () => {
    const whole = elfWith([unitOf(...everyForm)], "little", 64);
    const info = await open(whole);
    expect(info.variable("counter")).toMatchObject({ address: 0x4010n, type: { kind: "base" } });
    expect(info.type("structure", "box")?.field("narrow")).toMatchObject({ offset: 0, size: 4 });
    for (let at = 0; at < whole.length; at += 1) {
      for (const value of [0, 0x7f, 0xff, (whole[at] ?? 0) ^ 1]) {
        const damaged = whole.slice();
        damaged[at] = value;
        await useAll(damaged);
      }
    }
  });

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
      { numRuns: rounds(300) },
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
