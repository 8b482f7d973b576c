import { findBytes, findValues } from "../elf/search-bytes.js";
import type { AttributePlace } from "./abbrev.js";
import * as dw from "./constants.js";
import { Die } from "./unit.js";
import type { DwarfFile } from "./file.js";
import { entryBefore } from "./name-search.js";
import type { UnitArea } from "./area.js";
import type { Unit } from "./unit.js";
import { confirm, DieWalk } from "./walk.js";

/** The attributes by which an entry says that another one holds the rest of it. */
const ORIGINS: readonly number[] = [dw.DW_AT_specification, dw.DW_AT_abstract_origin];

const LOCAL = new Set([
  dw.DW_FORM_ref1,
  dw.DW_FORM_ref2,
  dw.DW_FORM_ref4,
  dw.DW_FORM_ref8,
  dw.DW_FORM_ref_udata,
  dw.DW_FORM_indirect,
]);
const GLOBAL = new Set([dw.DW_FORM_ref_addr]);
const ALTERNATE = new Set([dw.DW_FORM_GNU_ref_alt, dw.DW_FORM_ref_sup4, dw.DW_FORM_ref_sup8]);

/**
 * The variables of a file that refer to one of `targets` by DW_AT_specification or DW_AT_abstract_origin:
 * definitions of what was declared elsewhere have no name of their own.
 */
export function* findReferrers(file: DwarfFile, targets: readonly Die[]): Iterable<Die> {
  const byUnit = new Map<Unit, Die[]>();
  for (const target of targets) {
    if (target.unit.file !== file) continue;
    const own = byUnit.get(target.unit);
    if (own === undefined) byUnit.set(target.unit, [target]);
    else own.push(target);
  }
  for (const [unit, own] of byUnit) yield* withinUnit(unit, own);
  for (const area of file.areas) {
    const global = targets.filter(({ unit }) => unit.file === file && file.infoArea(unit) === unit.area);
    yield* acrossUnits(area, global, GLOBAL);
    yield* acrossUnits(
      area,
      targets.filter(({ unit }) => unit.file === file.alternate),
      ALTERNATE,
    );
  }
}

/** Abbreviations of variables that refer by one of some forms, and where. */
function places(unit: Unit, forms: ReadonlySet<number>): AttributePlace[] {
  return ORIGINS.flatMap((attribute) =>
    unit.abbrevs.places(dw.DW_TAG_variable, attribute).filter(({ form }) => forms.has(form)),
  );
}

function* withinUnit(unit: Unit, targets: readonly Die[]): Iterable<Die> {
  const wanted = places(unit, LOCAL);
  if (wanted.length === 0) return;
  const searchable = wanted.every(({ form, distance }) => form === dw.DW_FORM_ref4 && distance >= 0);
  if (searchable) {
    const values = new Set(targets.map(({ offset }) => offset - unit.offset));
    const { bytes, littleEndian } = unit.section;
    const offsets = new Set<number>();
    for (const { at } of findValues(bytes, values, littleEndian, unit.entries, unit.end)) {
      for (const { code, distance } of wanted) {
        const offset = entryBefore(unit, at - distance, code);
        if (offset !== undefined) offsets.add(offset);
      }
    }
    yield* referring(unit, [...offsets], targets);
    return;
  }
  const codes = new Set(wanted.map(({ code }) => code));
  const walk = new DieWalk(unit);
  const sought = placesOf(targets);
  while (walk.next()) {
    if (!codes.has(walk.code)) continue;
    const die = new Die(unit, walk.offset);
    if (refersTo(die, sought)) yield die;
  }
}

function* acrossUnits(area: UnitArea, targets: readonly Die[], forms: ReadonlySet<number>): Iterable<Die> {
  if (targets.length === 0 || !mayRefer(area, forms)) return;
  const { section } = area;
  const values = new Set(targets.map(({ offset }) => offset));
  const found = new Map<Unit, Set<number>>();
  for (const { at } of findValues(section.bytes, values, section.littleEndian)) {
    const unit = area.unitAt(at);
    if (unit === undefined) continue;
    for (const { code, form, distance } of places(unit, forms)) {
      // an entry that can't be known by distance is looked at with all of its kind
      const offsets = found.get(unit) ?? new Set();
      found.set(unit, offsets);
      if (distance < 0) {
        const walk = new DieWalk(unit);
        while (walk.next()) if (walk.code === code) offsets.add(walk.offset);
        continue;
      }
      const wide = unit.is64 && form !== dw.DW_FORM_ref_sup4 ? !section.littleEndian : false;
      const offset = entryBefore(unit, (wide ? at - 4 : at) - distance, code);
      if (offset !== undefined) offsets.add(offset);
    }
  }
  for (const [unit, offsets] of found) yield* referring(unit, [...offsets], targets);
}

/**
 * Whether the abbreviations of a file can have an origin in one of some forms: only what dwz and link-time
 * optimisation made has them, and the search across all units is only for those.
 */
function mayRefer(area: UnitArea, forms: ReadonlySet<number>): boolean {
  const { abbrev } = area.file;
  if (abbrev === undefined) return false;
  for (const attribute of ORIGINS) {
    for (const form of forms) {
      // ULEB128 of two bytes beyond 0x7f
      const written = form < 0x80 ? [form] : [(form & 0x7f) | 0x80, form >> 7];
      for (const _ of findBytes(abbrev.bytes, Uint8Array.of(attribute, ...written))) return true;
    }
  }
  return false;
}

function* referring(unit: Unit, offsets: readonly number[], targets: readonly Die[]): Iterable<Die> {
  const sorted = offsets.toSorted((a, b) => a - b);
  const sought = placesOf(targets);
  for (const { die } of confirm(unit, sorted)) if (refersTo(die, sought)) yield die;
}

/** Offsets of entries by the area that they are in: a file may declare one name a hundred thousand times. */
type Places = ReadonlyMap<Unit["area"], ReadonlySet<number>>;

function placesOf(targets: readonly Die[]): Places {
  const places = new Map<Unit["area"], Set<number>>();
  for (const { unit, offset } of targets) {
    const known = places.get(unit.area);
    if (known === undefined) places.set(unit.area, new Set([offset]));
    else known.add(offset);
  }
  return places;
}

function refersTo(die: Die, targets: Places): boolean {
  return ORIGINS.some((attribute) => {
    const origin = die.reference(attribute);
    return origin !== undefined && targets.get(origin.unit.area)?.has(origin.offset) === true;
  });
}
