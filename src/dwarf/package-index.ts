import { DWARF_RULES } from "./rules.js";
import * as dw from "./constants.js";
import { Cursor, type DwarfSection } from "./section.js";

/** Where the parts of one unit start in the sections of a package. */
export interface Contribution {
  readonly abbrev: number;
  readonly strOffsets: number;
}

/** Contributions by where their unit starts in `.debug_info.dwo` or `.debug_types.dwo`. */
export interface PackageIndex {
  readonly byInfo: ReadonlyMap<number, Contribution>;
  readonly byTypes: ReadonlyMap<number, Contribution>;
}

/**
 * `.debug_cu_index` or `.debug_tu_index` of a .dwp file: DWARF 5, 7.3.5.3, and the GNU version 2 before it.
 *
 * @throws FormatError `dwarf/package`, `dwarf/end`.
 */
export function readPackageIndex(section: DwarfSection): PackageIndex {
  const cursor = new Cursor(section, 0);
  // version 5 is two bytes and two of padding, version 2 four bytes
  const head = cursor.u32();
  const version = head === 2 ? 2 : head & 0xffff || head >>> 16;
  if (version !== 2 && version !== 5) {
    throw section.error(DWARF_RULES.package, 0, `package index of version ${version}, not 2 or 5`);
  }
  const [columns, units, slots] = [cursor.u32(), cursor.u32(), cursor.u32()];
  cursor.skip(12 * slots);
  if (cursor.pos + 4 * columns * (1 + 2 * units) > section.length) {
    throw section.error(
      DWARF_RULES.package,
      4,
      `${units} units of ${columns} parts don't fit into the index`,
    );
  }
  const ids = Array.from({ length: columns }, () => cursor.u32());
  const byInfo = new Map<number, Contribution>();
  const byTypes = new Map<number, Contribution>();
  for (let unit = 0; unit < units; unit += 1) {
    const row = new Map(ids.map((id) => [id, cursor.u32()]));
    const contribution = {
      abbrev: row.get(dw.DW_SECT_ABBREV) ?? 0,
      strOffsets: row.get(dw.DW_SECT_STR_OFFSETS) ?? 0,
    };
    const info = row.get(dw.DW_SECT_INFO);
    const types = version === 2 ? row.get(dw.DW_SECT_TYPES_V2) : undefined;
    if (types !== undefined) byTypes.set(types, contribution);
    else if (info !== undefined) byInfo.set(info, contribution);
  }
  return { byInfo, byTypes };
}
