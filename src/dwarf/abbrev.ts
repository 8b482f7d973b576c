import * as dw from "./constants.js";
import { formSize, type UnitShape, unknownForm } from "./forms.js";
import { Cursor, type DwarfSection } from "./section.js";

/** Codes up to here index an array; producers count from 1. */
const DENSE_LIMIT = 1 << 16;

/**
 * One table of abbreviations, a column a property: an abbreviation is a row number.
 * Attributes of row `i` are `attributes`/`forms`/`constants` [firstAttribute[i], firstAttribute[i + 1]).
 */
export class AbbrevTable {
  readonly offset: number;
  readonly codes: readonly number[];
  readonly tags: readonly number[];
  readonly hasChildren: readonly boolean[];
  readonly firstAttribute: readonly number[];
  readonly attributes: readonly number[];
  readonly forms: readonly number[];
  /** Values of DW_FORM_implicit_const. */
  readonly constants: readonly number[];
  /** Octets of a whole entry behind its code; -1 when its contents decide. */
  readonly sizes: readonly number[];
  readonly #dense: Int32Array;
  readonly #sparse: ReadonlyMap<number, number>;
  readonly #places = new Map<number, AttributePlace[]>();
  readonly #shape: UnitShape;

  /** @throws FormatError `dwarf/form`, `dwarf/end`, `dwarf/abbrev` for a damaged table. */
  constructor(section: DwarfSection, offset: number, shape: UnitShape) {
    this.offset = offset;
    this.#shape = shape;
    if (offset >= section.length) {
      throw section.error("dwarf/abbrev", offset, "a unit's abbreviations lie beyond the section");
    }
    const cursor = new Cursor(section, offset);
    const [codes, tags, hasChildren]: [number[], number[], boolean[]] = [[], [], []];
    const firstAttribute = [0];
    const [attributes, forms, constants, sizes]: [number[], number[], number[], number[]] = [[], [], [], []];
    let highest = 0;
    for (;;) {
      // a table that ends with its section is as good as one with a final 0
      if (cursor.pos >= section.length) break;
      const code = cursor.uleb();
      if (code === 0) break;
      highest = Math.max(highest, code);
      codes.push(code);
      tags.push(cursor.uleb());
      hasChildren.push(cursor.u8() !== 0);
      let size = 0;
      for (;;) {
        const at = cursor.pos;
        const [attribute, form] = [cursor.uleb(), cursor.uleb()];
        if (attribute === 0 && form === 0) break;
        const octets = formSize(form, shape);
        if (octets === undefined) throw unknownForm(section, at, form);
        attributes.push(attribute);
        forms.push(form);
        constants.push(form === dw.DW_FORM_implicit_const ? cursor.sleb() : 0);
        size = size < 0 || octets < 0 ? -1 : size + octets;
      }
      sizes.push(size);
      firstAttribute.push(attributes.length);
    }
    this.length = cursor.pos - offset;
    this.codes = codes;
    this.tags = tags;
    this.hasChildren = hasChildren;
    this.firstAttribute = firstAttribute;
    this.attributes = attributes;
    this.forms = forms;
    this.constants = constants;
    this.sizes = sizes;
    const sparse = new Map<number, number>();
    this.#dense = new Int32Array(Math.min(highest, DENSE_LIMIT, 8 * codes.length + 64) + 1).fill(-1);
    for (const [row, code] of codes.entries()) {
      if (code < this.#dense.length) this.#dense[code] = row;
      else sparse.set(code, row);
    }
    this.#sparse = sparse;
  }

  /** Octets of the table in its section. */
  readonly length: number;

  /** Row of an abbreviation code; -1 when the table lacks it. */
  row(code: number): number {
    return this.#dense[code] ?? this.#sparse.get(code) ?? -1;
  }

  /** Rows of some tag with an attribute, and how far behind the code it lies. */
  places(tag: number, attribute: number): readonly AttributePlace[] {
    const key = tag * 0x10000 + attribute;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const places: AttributePlace[] = [];
    for (const [row, itsTag] of this.tags.entries()) {
      if (itsTag !== tag) continue;
      let distance = 0;
      let found: AttributePlace | undefined;
      let declaration = false;
      for (let i = this.firstAttribute[row] ?? 0; i < (this.firstAttribute[row + 1] ?? 0); i += 1) {
        const form = this.forms[i] ?? 0;
        if (this.attributes[i] === dw.DW_AT_declaration) declaration = true;
        if (this.attributes[i] === attribute) {
          found ??= { row, form, distance, declaration: false };
        }
        const size = formSize(form, this.#shape) ?? -1;
        distance = distance < 0 || size < 0 ? -1 : distance + size;
      }
      if (found !== undefined) places.push({ ...found, declaration });
    }
    this.#places.set(key, places);
    return places;
  }
}

/** Where an attribute lies in entries of one abbreviation. */
export interface AttributePlace {
  readonly row: number;
  readonly form: number;
  /** Octets between the code and the value; -1 when contents before it decide. */
  readonly distance: number;
  /** Whether entries of this abbreviation have DW_AT_declaration. */
  readonly declaration: boolean;
}
