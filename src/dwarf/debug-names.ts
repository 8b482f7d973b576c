import { appendTo } from "../binary/arrays.js";
import { DWARF_RULES } from "./rules.js";
import { latin1Bytes } from "../binary/layout.js";
import * as dw from "./constants.js";
import { formSize } from "./forms.js";
import { Cursor, type DwarfSection } from "./section.js";

/** One name index of a `.debug_names` section (DWARF 5, 6.1.1.4.1); offsets are of the section. */
interface NameIndex {
  readonly is64: boolean;
  readonly end: number;
  readonly unitsAt: number;
  readonly unitCount: number;
  readonly bucketsAt: number;
  readonly bucketCount: number;
  readonly hashesAt: number;
  readonly stringsAt: number;
  readonly entriesAt: number;
  readonly nameCount: number;
  readonly abbrevsAt: number;
  readonly poolAt: number;
}

/**
 * Section offsets of the units that `.debug_names` lists for a name and one of some tags.
 *
 * @throws FormatError `dwarf/index`, `dwarf/end`.
 */
export function debugNamesUnits(
  section: DwarfSection,
  strings: DwarfSection | undefined,
  name: string,
  tags: readonly number[],
): number[] {
  if (strings === undefined) return [];
  const offsets: number[] = [];
  for (let at = 0; at < section.length; ) {
    const index = readIndex(section, at);
    appendTo(offsets, lookUp(section, strings, index, name, tags));
    at = index.end;
  }
  return offsets;
}

function readIndex(section: DwarfSection, at: number): NameIndex {
  const cursor = new Cursor(section, at);
  const { length, is64 } = cursor.initialLength();
  const end = cursor.pos + length;
  if (end > section.length)
    throw section.error(DWARF_RULES.index, at, "index goes beyond the end of the section");
  const version = cursor.u16();
  if (version !== 5) throw section.error(DWARF_RULES.index, at, `name index of version ${version}, not 5`);
  cursor.u16();
  const [unitCount, localTypes, foreignTypes] = [cursor.u32(), cursor.u32(), cursor.u32()];
  const [bucketCount, nameCount, abbrevSize] = [cursor.u32(), cursor.u32(), cursor.u32()];
  cursor.skip(cursor.u32());
  const word = is64 ? 8 : 4;
  const unitsAt = cursor.pos;
  const bucketsAt = unitsAt + word * (unitCount + localTypes) + 8 * foreignTypes;
  const hashesAt = bucketsAt + 4 * bucketCount;
  const stringsAt = hashesAt + (bucketCount === 0 ? 0 : 4 * nameCount);
  const entriesAt = stringsAt + word * nameCount;
  const abbrevsAt = entriesAt + word * nameCount;
  const poolAt = abbrevsAt + abbrevSize;
  if (poolAt > end) throw section.error(DWARF_RULES.index, at, "tables of the index go beyond its end");
  return {
    is64,
    end,
    unitsAt,
    unitCount,
    bucketsAt,
    bucketCount,
    hashesAt,
    stringsAt,
    entriesAt,
    nameCount,
    abbrevsAt,
    poolAt,
  };
}

function lookUp(
  section: DwarfSection,
  strings: DwarfSection,
  index: NameIndex,
  name: string,
  tags: readonly number[],
): number[] {
  const { bucketCount, nameCount, is64 } = index;
  const word = is64 ? 8 : 4;
  const wanted = latin1Bytes(name);
  const isNamed = (i: number): boolean =>
    strings.hasStringAt(new Cursor(section, index.stringsAt + word * i, index.end).offset(is64), wanted);
  // many names of one list of entries would have it read again and again
  const taken = new Set<number>();
  const units: number[] = [];
  const take = (i: number): void => {
    const pool = new Cursor(section, index.entriesAt + word * i, index.end).offset(is64);
    if (taken.has(pool)) return;
    taken.add(pool);
    appendTo(units, entryUnits(section, index, index.poolAt + pool, tags));
  };
  if (bucketCount === 0) {
    for (let i = 0; i < nameCount; i += 1) if (isNamed(i)) take(i);
    return units;
  }
  const hash = djbHash(name);
  const hashAt = (i: number): number => new Cursor(section, index.hashesAt + 4 * i, index.end).u32();
  const bucket = hash % bucketCount;
  const first = new Cursor(section, index.bucketsAt + 4 * bucket, index.end).u32();
  if (first === 0) return units;
  for (let i = first - 1; i < nameCount && hashAt(i) % bucketCount === bucket; i += 1) {
    if (hashAt(i) === hash && isNamed(i)) take(i);
  }
  return units;
}

/** Units of the entries of one name; entries of types that are units of their own have none. */
function entryUnits(section: DwarfSection, index: NameIndex, at: number, tags: readonly number[]): number[] {
  const shape = { version: 5, is64: index.is64, addressSize: 8 };
  const abbrevs = readAbbrevs(section, index);
  const cursor = new Cursor(section, at, index.end);
  const units: number[] = [];
  for (let code = cursor.uleb(); code !== 0; code = cursor.uleb()) {
    const { tag = 0, attributes } = abbrevs.get(code) ?? {};
    if (attributes === undefined) {
      throw section.error(DWARF_RULES.index, cursor.pos, `abbreviation ${code} is not in the index`);
    }
    // with a single unit the entries don't say which
    let unit: number | undefined = index.unitCount === 1 ? 0 : undefined;
    for (const { attribute, form } of attributes) {
      const size = formSize(form, shape) ?? 0;
      const value =
        size === 1 || size === 2 || size === 4
          ? cursor.unsigned(size)
          : size === 8
            ? Number(cursor.u64big())
            : size < 0
              ? cursor.uleb()
              : cursor.skip(size);
      if (attribute === dw.DW_IDX_compile_unit) unit = value;
      if (attribute === dw.DW_IDX_type_unit) unit = index.unitCount + value;
    }
    if (unit === undefined || unit >= index.unitCount || !tags.includes(tag)) continue;
    const place = index.unitsAt + (index.is64 ? 8 : 4) * unit;
    units.push(new Cursor(section, place, index.end).offset(index.is64));
  }
  return units;
}

function readAbbrevs(
  section: DwarfSection,
  index: NameIndex,
): Map<number, { readonly tag: number; readonly attributes: { attribute: number; form: number }[] }> {
  const table = new Map<number, { tag: number; attributes: { attribute: number; form: number }[] }>();
  const cursor = new Cursor(section, index.abbrevsAt, index.poolAt);
  while (cursor.pos < index.poolAt) {
    const code = cursor.uleb();
    if (code === 0) break;
    const tag = cursor.uleb();
    const attributes: { attribute: number; form: number }[] = [];
    for (;;) {
      const [attribute, form] = [cursor.uleb(), cursor.uleb()];
      if (attribute === 0 && form === 0) break;
      attributes.push({ attribute, form });
    }
    table.set(code, { tag, attributes });
  }
  return table;
}

/** DWARF 5, 7.33: the hash of names, case ignored. */
function djbHash(name: string): number {
  let hash = 5381;
  for (const byte of latin1Bytes(name)) {
    const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    hash = (Math.imul(hash, 33) + lower) >>> 0;
  }
  return hash;
}
