import { latin1Bytes } from "../binary/layout.js";
import { findBytes, findStrings, findValues } from "../elf/search-bytes.js";
import type { AttributePlace } from "./abbrev.js";
import * as dw from "./constants.js";
import { Die } from "./unit.js";
import type { DwarfFile } from "./file.js";
import type { UnitArea } from "./area.js";
import type { Unit } from "./unit.js";
import { DieWalk } from "./walk.js";

/** An entry that may be what is searched. */
export interface Hit {
  readonly unit: Unit;
  readonly offset: number;
}

/** Entries of one unit that may be what is searched: their offsets, ascending. `confirm` tells which are. */
export interface Candidates {
  readonly unit: Unit;
  readonly offsets: readonly number[];
}

/** What is searched, and where. */
export interface NameQuery {
  readonly name: string;
  readonly tags: readonly number[];
  /** Leave out entries that their abbreviation marks as declarations. */
  readonly definitions?: boolean;
  /** Only in these units; all of the file when left out. */
  readonly units?: readonly Unit[];
}

/** Section offsets of a name, by the form that refers to them. */
interface NameOffsets {
  readonly strp: ReadonlySet<number>;
  readonly lineStrp: ReadonlySet<number>;
  readonly alternate: ReadonlySet<number>;
}

/**
 * Finds entries by name without reading the units: the name's places in the string sections are searched as
 * values in the units' bytes, and a hit counts when the bytes before it are the code of an abbreviation that
 * has a name just there. Nothing is missed; a false hit in the midst of other data can't be known yet.
 */
export function searchName(file: DwarfFile, query: NameQuery): Candidates[] {
  const byUnit = new Map<Unit, Set<number>>();
  for (const { unit, offset } of nameHits(file, query)) {
    const known = byUnit.get(unit);
    if (known === undefined) byUnit.set(unit, new Set([offset]));
    else known.add(offset);
  }
  const all = Array.from(byUnit, ([unit, offsets]) => ({
    unit,
    offsets: [...offsets].sort((a, b) => a - b),
  }));
  return all.sort((a, b) => a.unit.offset - b.unit.offset);
}

/** The same, one by one in no order and as they are asked for; one may come twice. */
export function* nameHits(file: DwarfFile, query: NameQuery): Iterable<Hit> {
  const text = latin1Bytes(query.name);
  const none: ReadonlySet<number> = new Set();
  const offsets: NameOffsets = {
    strp: file.str === undefined ? none : findStrings(file.str.bytes, text),
    lineStrp: file.lineStr === undefined ? none : findStrings(file.lineStr.bytes, text),
    alternate: file.alternate?.str === undefined ? none : findStrings(file.alternate.str.bytes, text),
  };
  for (const area of file.areas) {
    for (const [start, end] of ranges(area, query.units)) {
      yield* rangeHits(area, start, end, query, offsets, text);
    }
  }
  if (file.strOffsets !== undefined) yield* indexedHits(file, query, offsets.strp);
}

/** Bytes of an area to search: the units asked for, or all. */
function* ranges(area: UnitArea, units: readonly Unit[] | undefined): Iterable<readonly [number, number]> {
  if (units === undefined) {
    yield [0, area.section.length];
    return;
  }
  for (const unit of units) if (unit.area === area) yield [unit.entries, unit.end];
}

function* rangeHits(
  area: UnitArea,
  start: number,
  end: number,
  query: NameQuery,
  offsets: NameOffsets,
  text: Uint8Array,
): Iterable<Hit> {
  const { bytes, littleEndian } = area.section;
  const whole = new Set<Unit>();
  // hits come in a row: most are of the unit of the one before
  let unit: Unit | undefined;
  let places: readonly AttributePlace[] = [];
  const check = function* (at: number, forms: ReadonlySet<number>, isOffset: boolean): Iterable<Hit> {
    if (unit === undefined || at < unit.offset || at >= unit.end) {
      unit = area.unitAt(at);
      if (unit === undefined) return;
      places = namePlaces(unit, query);
    }
    // the low half of an 8-byte offset comes last in big endian
    const wide = isOffset && unit.is64;
    const valueAt = wide && !littleEndian ? at - 4 : at;
    for (const place of places) {
      if (place.distance < 0 || place.form === dw.DW_FORM_indirect) whole.add(unit);
      else if (forms.has(place.form)) {
        const offset = entryBefore(unit, valueAt - place.distance, place.code);
        if (offset !== undefined) yield { unit, offset };
      }
    }
  };
  const kinds = [
    [offsets.strp, STRP],
    [offsets.lineStrp, LINE_STRP],
    [offsets.alternate, STRP_ALT],
  ] as const;
  for (const [values, forms] of kinds) {
    for (const { at } of findValues(bytes, values, littleEndian, start, end)) yield* check(at, forms, true);
  }
  const inline = new Uint8Array(text.length + 1);
  inline.set(text);
  for (const at of findBytes(bytes, inline, start, end)) yield* check(at, INLINE, false);
  for (const unit of whole) {
    yield* scanUnit(unit, query, (die) => die.string(dw.DW_AT_name) === query.name);
  }
}

const STRP: ReadonlySet<number> = new Set([dw.DW_FORM_strp]);
const LINE_STRP: ReadonlySet<number> = new Set([dw.DW_FORM_line_strp]);
const STRP_ALT: ReadonlySet<number> = new Set([dw.DW_FORM_GNU_strp_alt, dw.DW_FORM_strp_sup]);
const INLINE: ReadonlySet<number> = new Set([dw.DW_FORM_string]);
const INDEXED: ReadonlySet<number> = new Set([
  dw.DW_FORM_strx,
  dw.DW_FORM_strx1,
  dw.DW_FORM_strx2,
  dw.DW_FORM_strx3,
  dw.DW_FORM_strx4,
  dw.DW_FORM_GNU_str_index,
  dw.DW_FORM_indirect,
]);

function namePlaces(unit: Unit, { tags, definitions = false }: NameQuery): readonly AttributePlace[] {
  const places = tags.flatMap((tag) => unit.abbrevs.places(tag, dw.DW_AT_name));
  return definitions ? places.filter(({ declaration }) => !declaration) : places;
}

/** The offset of the entry whose code ends at `end`, if the bytes there are the code of that abbreviation. */
export function entryBefore(unit: Unit, end: number, abbreviation: number): number | undefined {
  const { bytes } = unit.section;
  let code = abbreviation;
  let length = 1;
  for (let rest = code; rest >= 128; rest = Math.floor(rest / 128)) length += 1;
  const start = end - length;
  if (start < unit.entries) return undefined;
  for (let i = 0; i < length; i += 1) {
    const more = i < length - 1 ? 0x80 : 0;
    if (bytes[start + i] !== ((code % 128) | more)) return undefined;
    code = Math.floor(code / 128);
  }
  return start;
}

/** Names given by number: the offset is searched in the tables, then the number in the units of that table. */
function* indexedHits(file: DwarfFile, query: NameQuery, strp: ReadonlySet<number>): Iterable<Hit> {
  const table = file.strOffsets;
  if (table === undefined) return;
  const hits = [...findValues(table.bytes, strp, table.littleEndian)]
    .map(({ at }) => at)
    .sort((a, b) => a - b);
  if (hits.length === 0) return;
  const units =
    query.units?.filter((unit) => unit.file === file) ?? file.areas.flatMap((a) => [...a.units()]);
  const bases = new Map(units.map((unit) => [unit, unit.stringOffsetsBase]));
  const sorted = [...new Set(bases.values())].sort((a, b) => a - b);
  for (const unit of units) {
    if (!namePlaces(unit, query).some(({ form }) => INDEXED.has(form))) continue;
    const base = bases.get(unit) ?? 0;
    const next = sorted.find((other) => other > base) ?? table.length;
    const size = unit.is64 ? 8 : 4;
    const shift = unit.is64 && !table.littleEndian ? 4 : 0;
    const numbers = new Set(
      hits.filter((at) => at >= base && at < next).map((at) => (at - shift - base) / size),
    );
    if (numbers.size === 0) continue;
    yield* scanUnit(unit, query, (die) => numbers.has(die.stringIndex(dw.DW_AT_name) ?? -1));
  }
}

/** Looks at every entry of the tags. */
function* scanUnit(unit: Unit, query: NameQuery, matches: (die: Die) => boolean): Iterable<Hit> {
  const codes = new Set(namePlaces(unit, query).map(({ code }) => code));
  const walk = new DieWalk(unit);
  while (walk.next()) {
    if (codes.has(walk.code) && matches(new Die(unit, walk.offset))) yield { unit, offset: walk.offset };
  }
}
