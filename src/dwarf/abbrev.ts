import { DWARF_RULES } from "./rules.js";
import * as dw from "./constants.js";
import { formSize, type UnitShape, unknownForm } from "./forms.js";
import { Cursor, type DwarfSection } from "./section.js";

/** An attribute as an abbreviation has it. */
export interface AttributeSpec {
  readonly attribute: number;
  readonly form: number;
  /** DW_FORM_implicit_const: the value. */
  readonly constant: number;
}

/** What entries of one code look like. */
export interface Abbreviation {
  readonly code: number;
  readonly tag: number;
  readonly hasChildren: boolean;
  readonly attributes: readonly AttributeSpec[];
  /** Bytes of a whole entry after its code; -1 when its contents decide. */
  readonly size: number;
  /** Bytes between the code and a DW_AT_sibling in the form DW_FORM_ref4; -1 without. */
  readonly sibling: number;
}

/** Where an attribute is in entries of one abbreviation. */
export interface AttributePlace {
  readonly code: number;
  readonly form: number;
  /** Bytes between the code and the value; -1 when contents before it decide. */
  readonly distance: number;
  /** Whether entries of this abbreviation have DW_AT_declaration. */
  readonly declaration: boolean;
}

/**
 * One table of abbreviations. Only codes and tags are read at once: a search meets many tables and uses a few
 * abbreviations of each.
 */
export class AbbrevTable {
  readonly offset: number;
  /** Bytes of the table in its section. */
  readonly length: number;
  readonly #section: DwarfSection;
  readonly #shape: UnitShape;
  // a row an abbreviation, in the order of the table
  readonly #codes: number[] = [];
  readonly #tags: number[] = [];
  /** Section offsets of the byte that says whether there are children; attributes follow. */
  readonly #starts: number[] = [];
  readonly #decoded: (Abbreviation | undefined)[] = [];
  /** Rows by code, where these don't count from 1 as producers do. */
  #rows: Map<number, number> | undefined;
  readonly #places = new Map<number, AttributePlace[]>();

  /** @throws FormatError `dwarf/end`, `dwarf/overflow`, `dwarf/abbrev` for a damaged table. */
  constructor(section: DwarfSection, offset: number, shape: UnitShape) {
    this.offset = offset;
    this.#section = section;
    this.#shape = shape;
    if (offset >= section.length) {
      throw section.error(DWARF_RULES.abbrev, offset, "a unit's abbreviations are beyond the section");
    }
    this.length = this.#scan() - offset;
    const counted = this.#codes.every((code, row) => code === row + 1);
    if (!counted) this.#rows = new Map(this.#codes.map((code, row) => [code, row]));
  }

  /** Reads codes and tags, passes over attributes; returns where the table ends. */
  #scan(): number {
    const section = this.#section;
    const { bytes } = section;
    const cursor = new Cursor(section, this.offset);
    // a table that ends with its section is as good as one with a final 0
    while (cursor.pos < bytes.length) {
      const code = cursor.uleb();
      if (code === 0) break;
      this.#codes.push(code);
      this.#tags.push(cursor.uleb());
      let at = cursor.skip(1) + 1;
      this.#starts.push(at - 1);
      for (;;) {
        const attribute = bytes[at] ?? 0x80;
        const form = bytes[at + 1] ?? 0x80;
        // nearly all pairs are of one byte each
        if (attribute < 0x80 && form < 0x80 && form !== dw.DW_FORM_implicit_const) {
          at += 2;
          if (attribute === 0 && form === 0) break;
          continue;
        }
        cursor.pos = at;
        cursor.uleb();
        if (cursor.uleb() === dw.DW_FORM_implicit_const) cursor.sleb();
        at = cursor.pos;
      }
      cursor.pos = at;
    }
    return cursor.pos;
  }

  /** @throws FormatError `dwarf/form` for one with a form that isn't known. */
  get(code: number): Abbreviation | undefined {
    const row = this.#rows === undefined ? code - 1 : (this.#rows.get(code) ?? -1);
    return this.#decoded[row] ?? this.#decode(row);
  }

  #decode(row: number): Abbreviation | undefined {
    const code = this.#codes[row];
    const tag = this.#tags[row];
    const start = this.#starts[row];
    if (code === undefined || tag === undefined || start === undefined) return undefined;
    const cursor = new Cursor(this.#section, start);
    const hasChildren = cursor.u8() !== 0;
    const attributes: AttributeSpec[] = [];
    let size = 0;
    let sibling = -1;
    for (;;) {
      const at = cursor.pos;
      const attribute = cursor.uleb();
      const form = cursor.uleb();
      if (attribute === 0 && form === 0) break;
      const bytes = formSize(form, this.#shape);
      if (bytes === undefined) throw unknownForm(this.#section, at, form);
      if (attribute === dw.DW_AT_sibling && form === dw.DW_FORM_ref4) sibling = size;
      attributes.push({ attribute, form, constant: form === dw.DW_FORM_implicit_const ? cursor.sleb() : 0 });
      size = size < 0 || bytes < 0 ? -1 : size + bytes;
    }
    const abbreviation = { code, tag, hasChildren, attributes, size, sibling };
    this.#decoded[row] = abbreviation;
    return abbreviation;
  }

  /** Abbreviations of some tag that have an attribute, and where in the entry it is. */
  places(tag: number, attribute: number): readonly AttributePlace[] {
    const key = tag * 0x10000 + attribute;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const places: AttributePlace[] = [];
    for (let row = this.#tags.indexOf(tag); row >= 0; row = this.#tags.indexOf(tag, row + 1)) {
      const abbreviation = this.#decoded[row] ?? this.#decode(row);
      const place = abbreviation && placeIn(abbreviation, attribute, this.#shape);
      if (place !== undefined) places.push(place);
    }
    this.#places.set(key, places);
    return places;
  }
}

function placeIn(
  abbreviation: Abbreviation,
  attribute: number,
  shape: UnitShape,
): AttributePlace | undefined {
  let distance = 0;
  for (const spec of abbreviation.attributes) {
    if (spec.attribute === attribute) {
      const declaration = abbreviation.attributes.some((other) => other.attribute === dw.DW_AT_declaration);
      return { code: abbreviation.code, form: spec.form, distance, declaration };
    }
    const size = formSize(spec.form, shape) ?? -1;
    distance = distance < 0 || size < 0 ? -1 : distance + size;
  }
  return undefined;
}
