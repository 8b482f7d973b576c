import type { AbbrevTable } from "./abbrev.js";
import * as dw from "./constants.js";
import { CONSTANT_FORMS, directForm, isBlock, readBlock, skipForm, stringIndexOf } from "./forms.js";
import type { Contribution } from "./package-index.js";
import { DWARF_RULES } from "./rules.js";
import { Cursor, type DwarfSection } from "./section.js";
import type { UnitHeader } from "./unit-header.js";

/** What units and their entries need of the section they are in. */
export interface EntryArea {
  readonly file: UnitFile;
  readonly section: DwarfSection;
  /** `.debug_types`: every unit is a type unit. */
  readonly types: boolean;
  /** The unit that an offset of the section is in. */
  unitAt(offset: number): Unit | undefined;
}

/** What units and their entries need of the file they are in. */
export interface UnitFile {
  readonly name: string;
  readonly areas: readonly EntryArea[];
  readonly abbrev: DwarfSection | undefined;
  readonly str: DwarfSection | undefined;
  readonly strOffsets: DwarfSection | undefined;
  readonly addr: DwarfSection | undefined;
  /** A section that an entry refers to. @throws FormatError `dwarf/section` when the file lacks it */
  need(key: "str" | "lineStr", user: Die): DwarfSection;
  /** The file that dwz moved common parts to. @throws AbsentError `dwarf/alternate-missing` when it was not given */
  alternateFor(user: Die): UnitFile;
  /** The `.debug_info` that DW_FORM_ref_addr of a unit counts in. */
  infoArea(unit: Unit): EntryArea;
  /** The type unit with a signature. */
  typeUnit(signature: bigint): Unit | undefined;
  /** Where the parts of a unit of a package lie; undefined outside of packages. */
  contribution(unit: Unit): Contribution | undefined;
  /** The skeleton of a split unit. */
  skeleton(unit: Unit): Unit | undefined;
  /** The abbreviations of a unit. @throws FormatError `dwarf/abbrev` */
  abbrevTable(unit: Unit): AbbrevTable;
}

/** One unit of debugging information. */
export class Unit implements UnitHeader {
  readonly area: EntryArea;
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

  constructor(area: EntryArea, index: number, header: UnitHeader) {
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

  get file(): UnitFile {
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
      throw this.section.error(DWARF_RULES.string, at, "an indexed string without .debug_str_offsets");
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
      throw this.section.error(DWARF_RULES.address, at, "an indexed address without .debug_addr");
    }
    const given = holder.root.unsigned(dw.DW_AT_addr_base) ?? holder.root.unsigned(dw.DW_AT_GNU_addr_base);
    const base = given ?? (holder.version < 5 ? 0 : holder.is64 ? 16 : 8);
    return new Cursor(addr, base + index * holder.addressSize).address(holder.addressSize);
  }
}

/** Where the value of an attribute is, and how it is written. */
interface AttributeValue {
  readonly form: number;
  /** Offset in the section. */
  readonly at: number;
  /** DW_FORM_implicit_const: the value. */
  readonly constant: number;
}

/** One debugging information entry, read on demand; values are decoded when asked for. */
export class Die {
  readonly unit: Unit;
  /** Offset in the section of the unit. */
  readonly offset: number;
  readonly tag: number;
  readonly hasChildren: boolean;
  /** Offset of what follows: the first child, or the next entry of the same parent. */
  readonly next: number;
  readonly #values = new Map<number, AttributeValue>();

  /** @throws FormatError `dwarf/entry` where no entry can be, and for a damaged one. */
  constructor(unit: Unit, offset: number) {
    const { section, abbrevs } = unit;
    if (offset < unit.entries || offset >= unit.end) {
      throw section.error(DWARF_RULES.entry, offset, "an entry outside of its unit");
    }
    const cursor = new Cursor(section, offset, unit.end);
    const code = cursor.uleb();
    const abbreviation = abbrevs.get(code);
    if (abbreviation === undefined) throw unknownAbbreviation(unit, offset, code);
    let at = cursor.pos;
    for (const { attribute, form, constant } of abbreviation.attributes) {
      // the first one counts, should a producer give an attribute twice
      if (!this.#values.has(attribute)) this.#values.set(attribute, { form, at, constant });
      at = skipForm(section, at, unit.end, form, unit);
      if (at > unit.end)
        throw section.error(DWARF_RULES.end, offset, "an entry goes beyond the end of its unit");
    }
    this.unit = unit;
    this.offset = offset;
    this.tag = abbreviation.tag;
    this.hasChildren = abbreviation.hasChildren;
    this.next = at;
  }

  has(attribute: number): boolean {
    return this.#values.has(attribute);
  }

  /** The same entry: equal place in the same section. */
  is(other: Die): boolean {
    return this.offset === other.offset && this.unit.area === other.unit.area;
  }

  /** Cursor at the value, and its form with DW_FORM_indirect resolved. */
  #value(attribute: number): { cursor: Cursor; form: number; constant: number } | undefined {
    const value = this.#values.get(attribute);
    if (value === undefined) return undefined;
    const cursor = new Cursor(this.unit.section, value.at, this.unit.end);
    const form = value.form === dw.DW_FORM_indirect ? directForm(cursor) : value.form;
    return { cursor, form, constant: value.constant };
  }

  #refuse(attribute: number, form: number): Error {
    const text = `attribute 0x${attribute.toString(16)} has a form (0x${form.toString(16)}) it can't have`;
    return this.unit.section.error(DWARF_RULES.form, this.offset, text);
  }

  flag(attribute: number): boolean {
    const value = this.#value(attribute);
    if (value === undefined) return false;
    if (value.form === dw.DW_FORM_flag_present) return true;
    if (value.form === dw.DW_FORM_implicit_const) return value.constant !== 0;
    return value.form === dw.DW_FORM_flag && value.cursor.u8() !== 0;
  }

  /** A constant of any width, or an offset into another section. Negative ones are refused. */
  unsigned(attribute: number): number | undefined {
    const value = this.#value(attribute);
    if (value === undefined) return undefined;
    const { cursor, form, constant } = value;
    let number: number;
    if (form === dw.DW_FORM_data1) number = cursor.u8();
    else if (form === dw.DW_FORM_data2) number = cursor.u16();
    else if (form === dw.DW_FORM_data4) number = cursor.u32();
    else if (form === dw.DW_FORM_data8) number = cursor.u64();
    else if (form === dw.DW_FORM_udata) number = cursor.uleb();
    else if (form === dw.DW_FORM_sdata) number = cursor.sleb();
    else if (form === dw.DW_FORM_implicit_const) number = constant;
    else if (form === dw.DW_FORM_sec_offset) number = cursor.offset(this.unit.is64);
    else throw this.#refuse(attribute, form);
    if (number < 0) {
      throw this.unit.section.error(
        DWARF_RULES.overflow,
        this.offset,
        `${number} where a size or offset belongs`,
      );
    }
    return number;
  }

  /** Whether the value is a constant (and no expression or reference). */
  isConstant(attribute: number): boolean {
    const form = this.#value(attribute)?.form;
    return form !== undefined && CONSTANT_FORMS.has(form);
  }

  /** A 64-bit id. */
  unsignedBig(attribute: number): bigint | undefined {
    const value = this.#value(attribute);
    if (value?.form === dw.DW_FORM_data8) return value.cursor.u64big();
    const number = this.unsigned(attribute);
    return number === undefined ? undefined : BigInt(number);
  }

  /** The bytes of an expression or block; undefined when the attribute is something else. */
  block(attribute: number): Uint8Array | undefined {
    const value = this.#value(attribute);
    return value !== undefined && isBlock(value.form) ? readBlock(value.cursor, value.form) : undefined;
  }

  string(attribute: number): string | undefined {
    const value = this.#value(attribute);
    if (value === undefined) return undefined;
    const { cursor, form } = value;
    const { unit } = this;
    const { file } = unit;
    switch (form) {
      case dw.DW_FORM_string:
        return cursor.string();
      case dw.DW_FORM_strp:
        return file.need("str", this).stringAt(cursor.offset(unit.is64));
      case dw.DW_FORM_line_strp:
        return file.need("lineStr", this).stringAt(cursor.offset(unit.is64));
      case dw.DW_FORM_strp_sup:
      case dw.DW_FORM_GNU_strp_alt:
        return file.alternateFor(this).need("str", this).stringAt(cursor.offset(unit.is64));
    }
    const index = stringIndexOf(cursor, form);
    if (index === undefined) throw this.#refuse(attribute, form);
    return unit.indexedString(index, this.offset);
  }

  /** Number of the string where the name is given by DW_FORM_strx or its like. */
  stringIndex(attribute: number): number | undefined {
    const value = this.#value(attribute);
    return value === undefined ? undefined : stringIndexOf(value.cursor, value.form);
  }

  /** The entry that the attribute refers to. @throws FormatError `dwarf/reference` when there is none. */
  reference(attribute: number): Die | undefined {
    const value = this.#value(attribute);
    if (value === undefined) return undefined;
    const { cursor, form } = value;
    const { unit } = this;
    const within = (distance: number): Die => this.#entry(unit, unit.offset + distance);
    switch (form) {
      case dw.DW_FORM_ref1:
        return within(cursor.u8());
      case dw.DW_FORM_ref2:
        return within(cursor.u16());
      case dw.DW_FORM_ref4:
        return within(cursor.u32());
      case dw.DW_FORM_ref8:
        return within(cursor.u64());
      case dw.DW_FORM_ref_udata:
        return within(cursor.uleb());
      case dw.DW_FORM_ref_addr: {
        const size = unit.version <= 2 ? unit.addressSize : unit.is64 ? 8 : 4;
        const offset = cursor.unsigned(size);
        return this.#entry(unit.file.infoArea(unit).unitAt(offset), offset);
      }
      case dw.DW_FORM_ref_sup4:
      case dw.DW_FORM_ref_sup8:
      case dw.DW_FORM_GNU_ref_alt: {
        const wide = form === dw.DW_FORM_ref_sup8 || (form === dw.DW_FORM_GNU_ref_alt && unit.is64);
        const offset = cursor.offset(wide);
        return this.#entry(unit.file.alternateFor(this).areas[0]?.unitAt(offset), offset);
      }
      case dw.DW_FORM_ref_sig8: {
        const signature = cursor.u64big();
        const target = unit.file.typeUnit(signature);
        if (target === undefined) {
          const text = `no type unit has the signature 0x${signature.toString(16)}`;
          throw unit.section.error(DWARF_RULES.reference, this.offset, text);
        }
        return this.#entry(target, target.offset + (target.typeOffset ?? 0));
      }
    }
    throw this.#refuse(attribute, form);
  }

  #entry(unit: Unit | undefined, offset: number): Die {
    if (unit === undefined || offset < unit.entries || offset >= unit.end) {
      const text = `a reference to 0x${offset.toString(16)}, where no entry is`;
      throw this.unit.section.error(DWARF_RULES.reference, this.offset, text);
    }
    return new Die(unit, offset);
  }
}

export function unknownAbbreviation(unit: Unit, offset: number, code: number): Error {
  const table = `.debug_abbrev+0x${unit.abbrevs.offset.toString(16)}`;
  return unit.section.error(
    DWARF_RULES.entry,
    offset,
    `abbreviation ${code} is not in the table at ${table}`,
  );
}
