import type { AbbrevTable } from "./abbrev.js";
import * as dw from "./constants.js";
import { Die } from "./die.js";
import type { DwarfFile } from "./file.js";
import type { UnitShape } from "./forms.js";
import { Cursor, type DwarfSection } from "./section.js";

/** One section of units: `.debug_info` or, before DWARF 5, `.debug_types`. */
export class UnitArea {
  readonly file: DwarfFile;
  readonly section: DwarfSection;
  /** `.debug_types`: every unit is a type unit. */
  readonly types: boolean;
  /** Section offsets of the unit headers, and the end of the last unit. */
  readonly #offsets: Float64Array;
  readonly #units = new Map<number, Unit>();

  /** Whether units of it may stand for split ones. */
  readonly mayBeSplit: boolean;

  /** Walks the unit headers. @throws FormatError `dwarf/unit`, `dwarf/version`, `dwarf/end`. */
  constructor(file: DwarfFile, section: DwarfSection, types: boolean) {
    this.file = file;
    this.section = section;
    this.types = types;
    let offsets = new Float64Array(1024);
    let count = 0;
    let at = 0;
    let mayBeSplit = false;
    while (at < section.length) {
      if (count + 1 >= offsets.length) {
        const larger = new Float64Array(2 * offsets.length);
        larger.set(offsets);
        offsets = larger;
      }
      offsets[count] = at;
      count += 1;
      const { end, version, type } = readUnitHeader(section, at, types);
      // before DWARF 5 only attributes tell; such a program has .debug_addr
      mayBeSplit ||= version >= 5 ? type === dw.DW_UT_skeleton : file.addr !== undefined;
      at = end;
    }
    offsets[count] = at;
    this.mayBeSplit = mayBeSplit;
    this.#offsets = offsets.slice(0, count + 1);
  }

  get count(): number {
    return this.#offsets.length - 1;
  }

  unit(index: number): Unit {
    const known = this.#units.get(index);
    if (known !== undefined) return known;
    const unit = new Unit(this, index, readUnitHeader(this.section, this.#offsets[index] ?? 0, this.types));
    this.#units.set(index, unit);
    return unit;
  }

  /** The unit that an offset of the section lies in. */
  unitAt(offset: number): Unit | undefined {
    const end = this.#offsets[this.count] ?? 0;
    if (!(offset >= 0 && offset < end)) return undefined;
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return this.unit(low);
  }

  *units(): Iterable<Unit> {
    for (let i = 0; i < this.count; i += 1) yield this.unit(i);
  }
}

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

/** DWARF 5, 7.5.1; DWARF 4, 7.5.1. */
export function readUnitHeader(section: DwarfSection, offset: number, types: boolean): UnitHeader {
  const cursor = new Cursor(section, offset);
  const { length, is64 } = cursor.initialLength();
  const end = cursor.pos + length;
  if (end > section.length) {
    const text = `unit of ${length} bytes goes beyond the end of the section (${section.length} bytes)`;
    throw section.error("dwarf/unit", offset, text);
  }
  const body = new Cursor(section, cursor.pos, end);
  const versionAt = body.pos;
  const version = body.u16();
  if (version < 2 || version > 5) {
    throw section.error("dwarf/version", versionAt, `DWARF version ${version} is not 2 to 5`);
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
    throw section.error("dwarf/unit", versionAt, `addresses of ${addressSize} bytes`);
  }
  if (type < dw.DW_UT_compile || type > dw.DW_UT_split_type) {
    throw section.error("dwarf/unit", versionAt + 2, `unknown unit type ${type}`);
  }
  const isType = type === dw.DW_UT_type || type === dw.DW_UT_split_type;
  const isSplit = type === dw.DW_UT_skeleton || type === dw.DW_UT_split_compile;
  const id = isType || isSplit ? body.u64big() : undefined;
  const typeOffset = isType ? body.offset(is64) : undefined;
  return { offset, end, version, is64, addressSize, type, abbrevOffset, entries: body.pos, id, typeOffset };
}

/** One unit of debugging information. */
export class Unit implements UnitHeader {
  readonly area: UnitArea;
  readonly index: number;
  readonly offset: number;
  readonly end: number;
  readonly version: number;
  readonly is64: boolean;
  readonly addressSize: number;
  readonly type: number;
  readonly abbrevOffset: number;
  readonly entries: number;
  readonly id: bigint | undefined;
  readonly typeOffset: number | undefined;
  #abbrevs: AbbrevTable | undefined;
  #root: Die | undefined;

  constructor(area: UnitArea, index: number, header: UnitHeader) {
    this.area = area;
    this.index = index;
    this.offset = header.offset;
    this.end = header.end;
    this.version = header.version;
    this.is64 = header.is64;
    this.addressSize = header.addressSize;
    this.type = header.type;
    this.abbrevOffset = header.abbrevOffset;
    this.entries = header.entries;
    this.id = header.id;
    this.typeOffset = header.typeOffset;
  }

  get file(): DwarfFile {
    return this.area.file;
  }

  get section(): DwarfSection {
    return this.area.section;
  }

  get abbrevs(): AbbrevTable {
    this.#abbrevs ??= this.file.abbrevTable(this);
    return this.#abbrevs;
  }

  /** The entry of the unit itself. */
  get root(): Die {
    this.#root ??= new Die(this, this.entries);
    return this.#root;
  }

  /** Path of the source file. */
  get name(): string | undefined {
    return this.root.string(dw.DW_AT_name);
  }

  /** Id that joins a skeleton and its split unit, in the header (DWARF 5) or an attribute (before). */
  get splitId(): bigint | undefined {
    return this.version >= 5 ? this.id : this.root.unsignedBig(dw.DW_AT_GNU_dwo_id);
  }

  /** Name of the file with the split unit; undefined for a unit that isn't split. */
  get splitName(): string | undefined {
    return this.root.string(dw.DW_AT_dwo_name) ?? this.root.string(dw.DW_AT_GNU_dwo_name);
  }

  /** String number `index` of the unit: DW_FORM_strx and its like. */
  indexedString(index: number, at: number): string {
    const { strOffsets, str } = this.file;
    if (strOffsets === undefined || str === undefined) {
      throw this.section.error("dwarf/string", at, "an indexed string without .debug_str_offsets");
    }
    const place = this.stringOffsetsBase + index * (this.is64 ? 8 : 4);
    return str.stringAt(new Cursor(strOffsets, place).offset(this.is64));
  }

  /** Where the unit's entries of .debug_str_offsets start. */
  get stringOffsetsBase(): number {
    const start = this.file.contribution(this)?.strOffsets ?? 0;
    if (!this.root.has(dw.DW_AT_str_offsets_base)) {
      // split units have one contribution, with a header from DWARF 5 on
      return start + (this.version < 5 ? 0 : this.is64 ? 16 : 8);
    }
    return start + (this.root.unsigned(dw.DW_AT_str_offsets_base) ?? 0);
  }

  /** Address number `index` of the unit: DW_FORM_addrx, DW_OP_addrx. A split unit's are in its skeleton's file. */
  indexedAddress(index: number, at: number): bigint {
    const holder = this.file.skeleton(this) ?? this;
    const { addr } = holder.file;
    if (addr === undefined) {
      throw this.section.error("dwarf/address", at, "an indexed address without .debug_addr");
    }
    const given = holder.root.unsigned(dw.DW_AT_addr_base) ?? holder.root.unsigned(dw.DW_AT_GNU_addr_base);
    const base = given ?? (holder.version < 5 ? 0 : holder.is64 ? 16 : 8);
    return new Cursor(addr, base + index * holder.addressSize).address(holder.addressSize);
  }
}
