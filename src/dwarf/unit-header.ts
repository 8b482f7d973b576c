import * as dw from "./constants.js";
import type { UnitShape } from "./forms.js";
import { DWARF_RULES } from "./rules.js";
import { Cursor, type DwarfSection } from "./section.js";

/** What the header of a unit says; offsets are of its section. */
export interface UnitHeader extends UnitShape {
  readonly offset: number;
  /** Exclusive. */
  readonly end: number;
  /** DW_UT_…, also for versions that have no such field. */
  readonly type: number;
  readonly abbrevOffset: number;
  /** Where the first entry starts. */
  readonly entries: number;
  /** Id that joins a skeleton and its split unit (DWARF 5), or the signature of a type unit. */
  readonly id: bigint | undefined;
  /** Offset in the unit of the type of a type unit. */
  readonly typeOffset: number | undefined;
}

/** Reads the header of the unit at `offset` (DWARF 5 and 4, 7.5.1). @throws FormatError `dwarf/unit`, `dwarf/version`, `dwarf/end` */
export function readUnitHeader(section: DwarfSection, offset: number, types: boolean): UnitHeader {
  const cursor = new Cursor(section, offset);
  const { length, is64 } = cursor.initialLength();
  const end = cursor.pos + length;
  if (end > section.length) {
    const text = `unit of ${length} bytes goes beyond the end of the section (${section.length} bytes)`;
    throw section.error(DWARF_RULES.unit, offset, text);
  }
  const body = new Cursor(section, cursor.pos, end);
  const versionAt = body.pos;
  const version = body.u16();
  if (version < 2 || version > 5) {
    throw section.error(DWARF_RULES.version, versionAt, `DWARF version ${version} is not 2 to 5`);
  }
  let type: number = types ? dw.DW_UT_type : dw.DW_UT_compile;
  let addressSize: number;
  let abbrevOffset: number;
  if (version >= 5) {
    type = body.u8();
    addressSize = body.u8();
    abbrevOffset = body.offset(is64);
  } else {
    abbrevOffset = body.offset(is64);
    addressSize = body.u8();
  }
  if (addressSize !== 4 && addressSize !== 8 && addressSize !== 2 && addressSize !== 1) {
    throw section.error(DWARF_RULES.unit, versionAt, `addresses of ${addressSize} bytes`);
  }
  if (type < dw.DW_UT_compile || type > dw.DW_UT_split_type) {
    throw section.error(DWARF_RULES.unit, versionAt + 2, `unknown unit type ${type}`);
  }
  const isType = type === dw.DW_UT_type || type === dw.DW_UT_split_type;
  const isSplit = type === dw.DW_UT_skeleton || type === dw.DW_UT_split_compile;
  const id = isType || isSplit ? body.u64big() : undefined;
  const typeOffset = isType ? body.offset(is64) : undefined;
  return { offset, end, version, is64, addressSize, type, abbrevOffset, entries: body.pos, id, typeOffset };
}
