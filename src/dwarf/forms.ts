import { DWARF_RULES } from "./rules.js";
import * as dw from "./constants.js";
import { Cursor, type DwarfSection } from "./section.js";

/** What the size of a form depends on, by unit. */
export interface UnitShape {
  readonly version: number;
  /** 64-bit DWARF: offsets take 8 bytes. */
  readonly is64: boolean;
  readonly addressSize: number;
}

const FIXED: ReadonlyMap<number, number> = new Map([
  [dw.DW_FORM_data1, 1],
  [dw.DW_FORM_data2, 2],
  [dw.DW_FORM_data4, 4],
  [dw.DW_FORM_data8, 8],
  [dw.DW_FORM_data16, 16],
  [dw.DW_FORM_flag, 1],
  [dw.DW_FORM_flag_present, 0],
  [dw.DW_FORM_implicit_const, 0],
  [dw.DW_FORM_ref1, 1],
  [dw.DW_FORM_ref2, 2],
  [dw.DW_FORM_ref4, 4],
  [dw.DW_FORM_ref8, 8],
  [dw.DW_FORM_ref_sig8, 8],
  [dw.DW_FORM_ref_sup4, 4],
  [dw.DW_FORM_ref_sup8, 8],
  [dw.DW_FORM_strx1, 1],
  [dw.DW_FORM_strx2, 2],
  [dw.DW_FORM_strx3, 3],
  [dw.DW_FORM_strx4, 4],
  [dw.DW_FORM_addrx1, 1],
  [dw.DW_FORM_addrx2, 2],
  [dw.DW_FORM_addrx3, 3],
  [dw.DW_FORM_addrx4, 4],
]);

const OFFSETS: ReadonlySet<number> = new Set([
  dw.DW_FORM_strp,
  dw.DW_FORM_line_strp,
  dw.DW_FORM_strp_sup,
  dw.DW_FORM_sec_offset,
  dw.DW_FORM_GNU_ref_alt,
  dw.DW_FORM_GNU_strp_alt,
]);

const LEB: ReadonlySet<number> = new Set([
  dw.DW_FORM_sdata,
  dw.DW_FORM_udata,
  dw.DW_FORM_ref_udata,
  dw.DW_FORM_strx,
  dw.DW_FORM_addrx,
  dw.DW_FORM_loclistx,
  dw.DW_FORM_rnglistx,
  dw.DW_FORM_GNU_addr_index,
  dw.DW_FORM_GNU_str_index,
]);

const COUNTED: ReadonlySet<number> = new Set([
  dw.DW_FORM_block,
  dw.DW_FORM_block1,
  dw.DW_FORM_block2,
  dw.DW_FORM_block4,
  dw.DW_FORM_exprloc,
]);

/** Sizes of the forms below this, by shape: the others are of GNU extensions and rare. */
const COMMON = 0x40;
const UNKNOWN = -2;
const tables = new Map<number, Int8Array>();

/** Bytes that a form takes in a unit; -1 when its contents decide; undefined for a form that isn't known. */
export function formSize(form: number, shape: UnitShape): number | undefined {
  if (form >= COMMON) return sizeOf(form, shape);
  const key = (shape.version <= 2 ? 1 : 0) | (shape.is64 ? 2 : 0) | (shape.addressSize << 2);
  let table = tables.get(key);
  if (table === undefined) {
    table = Int8Array.from({ length: COMMON }, (_, common) => sizeOf(common, shape) ?? UNKNOWN);
    tables.set(key, table);
  }
  const size = table[form] ?? UNKNOWN;
  return size === UNKNOWN ? undefined : size;
}

function sizeOf(form: number, shape: UnitShape): number | undefined {
  const fixed = FIXED.get(form);
  if (fixed !== undefined) return fixed;
  if (form === dw.DW_FORM_addr) return shape.addressSize;
  // DWARF 2 had it the size of an address
  if (form === dw.DW_FORM_ref_addr) return shape.version <= 2 ? shape.addressSize : shape.is64 ? 8 : 4;
  if (OFFSETS.has(form)) return shape.is64 ? 8 : 4;
  if (LEB.has(form) || COUNTED.has(form) || form === dw.DW_FORM_string || form === dw.DW_FORM_indirect) {
    return -1;
  }
  return undefined;
}

/** The bytes of a block or expression. Leaves the cursor after them. */
export function readBlock(cursor: Cursor, form: number): Uint8Array {
  let length: number;
  if (form === dw.DW_FORM_block1) length = cursor.u8();
  else if (form === dw.DW_FORM_block2) length = cursor.u16();
  else if (form === dw.DW_FORM_block4) length = cursor.u32();
  else length = cursor.uleb();
  const at = cursor.skip(length);
  return cursor.section.bytes.subarray(at, at + length);
}

export function isBlock(form: number): boolean {
  return COUNTED.has(form);
}

/** The offset after a value of `form` at `pos`. @throws FormatError `dwarf/form`, `dwarf/end`. */
export function skipForm(
  section: DwarfSection,
  pos: number,
  end: number,
  form: number,
  shape: UnitShape,
): number {
  const size = formSize(form, shape);
  if (size === undefined) throw unknownForm(section, pos, form);
  if (size >= 0) return pos + size;
  const { bytes } = section;
  if (LEB.has(form)) {
    let at = pos;
    while (at < end && (bytes[at] ?? 0) >= 0x80) at += 1;
    return at + 1;
  }
  if (form === dw.DW_FORM_string) {
    const nul = bytes.indexOf(0, pos);
    if (nul < 0 || nul >= end) throw section.error(DWARF_RULES.string, pos, "string without an end");
    return nul + 1;
  }
  const cursor = new Cursor(section, pos, end);
  if (form === dw.DW_FORM_indirect) {
    const direct = directForm(cursor);
    return skipForm(section, cursor.pos, end, direct, shape);
  }
  readBlock(cursor, form);
  return cursor.pos;
}

/** The form that DW_FORM_indirect names in the data. */
export function directForm(cursor: Cursor): number {
  const at = cursor.pos;
  const form = cursor.uleb();
  if (form === dw.DW_FORM_indirect || form === dw.DW_FORM_implicit_const) {
    throw cursor.section.error(DWARF_RULES.form, at, `form 0x${form.toString(16)} named by DW_FORM_indirect`);
  }
  return form;
}

export function unknownForm(section: DwarfSection, at: number, form: number): Error {
  return section.error(DWARF_RULES.form, at, `unknown form 0x${form.toString(16)}`);
}

/** Forms whose value is a constant, not an expression or a reference. */
export const CONSTANT_FORMS: ReadonlySet<number> = new Set([
  dw.DW_FORM_data1,
  dw.DW_FORM_data2,
  dw.DW_FORM_data4,
  dw.DW_FORM_data8,
  dw.DW_FORM_udata,
  dw.DW_FORM_sdata,
  dw.DW_FORM_implicit_const,
]);

/** Number of the string of DW_FORM_strx and its like; undefined for other forms. */
export function stringIndexOf(cursor: Cursor, form: number): number | undefined {
  switch (form) {
    case dw.DW_FORM_strx:
    case dw.DW_FORM_GNU_str_index:
      return cursor.uleb();
    case dw.DW_FORM_strx1:
      return cursor.u8();
    case dw.DW_FORM_strx2:
      return cursor.u16();
    case dw.DW_FORM_strx3:
      return cursor.u24();
    case dw.DW_FORM_strx4:
      return cursor.u32();
  }
  return undefined;
}
