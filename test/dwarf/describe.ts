import type { ByteOrder } from "../../src/binary/layout.js";
import * as dw from "../../src/dwarf/constants.js";
import { DwarfWriter, type WrittenDwarf } from "../../src/dwarf/write.js";

/** An attribute: which, how it is written, and its value (a label for references, bytes for blocks). */
export type AttributeDescription = readonly [
  attribute: number,
  form: number,
  value: number | bigint | string | readonly number[],
];

export interface DieDescription {
  readonly tag: number;
  readonly label?: string;
  readonly attributes: readonly AttributeDescription[];
  readonly children?: readonly DieDescription[];
}

export interface UnitDescription {
  readonly version?: number;
  readonly is64?: boolean;
  readonly addressSize?: number;
  /** DW_UT_…; type units take `signature` and the label of their type. */
  readonly type?: number;
  readonly signature?: bigint;
  readonly typeLabel?: string;
  readonly root: DieDescription;
}

const LEB: ReadonlySet<number> = new Set([
  dw.DW_FORM_udata,
  dw.DW_FORM_ref_udata,
  dw.DW_FORM_strx,
  dw.DW_FORM_addrx,
  dw.DW_FORM_loclistx,
  dw.DW_FORM_rnglistx,
  dw.DW_FORM_GNU_addr_index,
  dw.DW_FORM_GNU_str_index,
]);

const SIZES: ReadonlyMap<number, number> = new Map([
  [dw.DW_FORM_data1, 1],
  [dw.DW_FORM_data2, 2],
  [dw.DW_FORM_data4, 4],
  [dw.DW_FORM_data8, 8],
  [dw.DW_FORM_ref_sig8, 8],
  [dw.DW_FORM_flag, 1],
  [dw.DW_FORM_data16, 16],
  [dw.DW_FORM_strx1, 1],
  [dw.DW_FORM_strx2, 2],
  [dw.DW_FORM_strx3, 3],
  [dw.DW_FORM_strx4, 4],
  [dw.DW_FORM_addrx1, 1],
  [dw.DW_FORM_addrx2, 2],
  [dw.DW_FORM_addrx3, 3],
  [dw.DW_FORM_addrx4, 4],
  [dw.DW_FORM_ref_sup4, 4],
  [dw.DW_FORM_ref_sup8, 8],
]);
/** Forms of an offset's width. */
const WORDS: ReadonlySet<number> = new Set([
  dw.DW_FORM_sec_offset,
  dw.DW_FORM_line_strp,
  dw.DW_FORM_strp_sup,
  dw.DW_FORM_GNU_ref_alt,
  dw.DW_FORM_GNU_strp_alt,
]);
const REFERENCES: ReadonlyMap<number, number> = new Map([
  [dw.DW_FORM_ref1, 1],
  [dw.DW_FORM_ref2, 2],
  [dw.DW_FORM_ref4, 4],
  [dw.DW_FORM_ref8, 8],
]);
const BLOCKS: ReadonlyMap<number, number> = new Map([
  [dw.DW_FORM_block1, 1],
  [dw.DW_FORM_block2, 2],
  [dw.DW_FORM_block4, 4],
]);

/** Writes units described by values; version 4 type units go to `.debug_types`. */
export function buildDwarf(units: readonly UnitDescription[], order: ByteOrder): WrittenDwarf {
  const writer = new DwarfWriter(undefined, order);
  const numbers = new Map<string, number>();
  const offsets: number[] = [];
  const numberOf = (label: string): number => {
    const known = numbers.get(label) ?? numbers.size;
    numbers.set(label, known);
    return known;
  };
  for (const unit of units) describeUnit(writer, unit, numberOf, offsets);
  return writer.finish((number) => {
    const offset = offsets[number];
    if (offset === undefined) throw new Error(`entry ${number} was referred to and not written`);
    return offset;
  });
}

function describeUnit(
  writer: DwarfWriter,
  unit: UnitDescription,
  numberOf: (label: string) => number,
  offsets: number[],
): void {
  const { version = 5, is64 = false, addressSize = 8, type, signature = 0n, typeLabel = "", root } = unit;
  const isType = type === dw.DW_UT_type;
  writer.unit({
    version,
    is64,
    addressSize,
    ...(isType ? { type: { signature, target: numberOf(typeLabel) } } : {}),
  });
  const shape = { word: is64 ? 8 : 4, version, addressSize, numberOf };
  const codes = new Map<string, number>();
  const write = (die: DieDescription): void => {
    const hasChildren = die.children !== undefined;
    const attributes = die.attributes.map(
      ([attribute, form, value]) =>
        [attribute, form, ...(form === dw.DW_FORM_implicit_const ? [Number(value)] : [])] as [
          number,
          number,
          number?,
        ],
    );
    const key = JSON.stringify([die.tag, hasChildren, attributes]);
    const code = codes.get(key) ?? writer.abbreviation(die.tag, hasChildren, attributes);
    codes.set(key, code);
    const at = writer.begin(code);
    if (die.label !== undefined) offsets[numberOf(die.label)] = at;
    for (const [, form, value] of die.attributes) describeValue(writer, form, value, shape);
    if (die.children === undefined) return;
    for (const child of die.children) write(child);
    writer.end();
  };
  write(root);
  writer.endUnit();
}

interface Shape {
  readonly word: number;
  readonly version: number;
  readonly addressSize: number;
  readonly numberOf: (label: string) => number;
}

function describeValue(
  writer: DwarfWriter,
  form: number,
  value: AttributeDescription[2],
  { word, version, addressSize, numberOf }: Shape,
): void {
  const { info } = writer;
  const reference = REFERENCES.get(form);
  const size = WORDS.has(form) ? word : form === dw.DW_FORM_addr ? addressSize : SIZES.get(form);
  if (form === dw.DW_FORM_implicit_const || form === dw.DW_FORM_flag_present) return;
  if (form === dw.DW_FORM_string) {
    info.raw(new TextEncoder().encode(`${String(value)}\0`));
  } else if (form === dw.DW_FORM_strp) info.unsigned(writer.string(String(value)), word);
  else if (form === dw.DW_FORM_ref_addr)
    writer.reference(numberOf(String(value)), version <= 2 ? addressSize : word, "section");
  else if (reference !== undefined) writer.reference(numberOf(String(value)), reference);
  else if (LEB.has(form)) info.uleb(Number(value));
  else if (form === dw.DW_FORM_sdata) info.sleb(BigInt(value as number));
  else if (form === dw.DW_FORM_indirect) {
    info.uleb(dw.DW_FORM_udata);
    info.uleb(Number(value));
  } else if (typeof value === "object") {
    const count = BLOCKS.get(form);
    if (count === undefined) info.uleb(value.length);
    else info.unsigned(value.length, count);
    info.raw(Uint8Array.from(value));
  } else if (size !== undefined && typeof value !== "string") info.unsigned(value, size);
  else throw new Error(`form ${form}`);
}
