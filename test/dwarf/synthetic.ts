import type { ByteOrder } from "../../src/binary/layout.js";
import * as dw from "../../src/dwarf/constants.js";
import { DebugInfo } from "../../src/dwarf/index.js";
import { ElfFile } from "../../src/elf/file.js";
import type { ElfBits } from "../../src/elf/layout.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { buildElf } from "../elf/elf-writer.js";
import {
  type AttributeDescription,
  buildDwarf,
  type DieDescription,
  type UnitDescription,
} from "./describe.js";

export const address = (value: number, size: number, order: ByteOrder): number[] => {
  const little = Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);
  return [dw.DW_OP_addr, ...(order === "little" ? little : little.toReversed())];
};

export const name = (text: string, form = dw.DW_FORM_strp): AttributeDescription => [
  dw.DW_AT_name,
  form,
  text,
];
export const present = (attribute: number): AttributeDescription => [attribute, dw.DW_FORM_flag_present, 1];

/** Two units: one declares `counter` and `struct box` and defines the former, the other defines the struct. */
export function program(
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

export function elfWith(units: readonly UnitDescription[], order: ByteOrder, bits: ElfBits): Uint8Array {
  const { info, types, abbrev, str } = buildDwarf(units, order);
  const sections = [
    { name: ".debug_info", data: info },
    { name: ".debug_abbrev", data: abbrev },
    { name: ".debug_str", data: str },
    ...(types.length === 0 ? [] : [{ name: ".debug_types", data: types }]),
  ];
  return buildElf({ bits, order, sections });
}

export const open = async (bytes: Uint8Array): Promise<DebugInfo> =>
  DebugInfo.open(await ElfFile.open(bytesSource(bytes, "program")));

/** A unit with some entries below its own. */
export const unitOf = (...children: DieDescription[]): UnitDescription => ({
  root: { tag: dw.DW_TAG_compile_unit, attributes: [name("unit.c")], children },
});
