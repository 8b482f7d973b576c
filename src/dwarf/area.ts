import { firstAtLeast } from "../binary/search.js";
import * as dw from "./constants.js";
import type { DwarfSection } from "./section.js";
import { type EntryArea, Unit, type UnitFile } from "./unit.js";
import { readUnitHeader } from "./unit-header.js";

/** One section of units: `.debug_info` or, before DWARF 5, `.debug_types`. */
export class UnitArea implements EntryArea {
  readonly file: UnitFile;
  readonly section: DwarfSection;
  /** `.debug_types`: every unit is a type unit. */
  readonly types: boolean;
  /** Section offsets of the unit headers, and the end of the last unit. */
  readonly #offsets: Float64Array;
  readonly #units = new Map<number, Unit>();

  /** Whether units of it may stand for split ones. */
  readonly mayBeSplit: boolean;

  /** Walks the unit headers. @throws FormatError `dwarf/unit`, `dwarf/version`, `dwarf/end`. */
  constructor(file: UnitFile, section: DwarfSection, types: boolean) {
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
      // before DWARF 5 only attributes say so; such a program has .debug_addr
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

  /** The unit that an offset of the section is in. */
  unitAt(offset: number): Unit | undefined {
    const end = this.#offsets[this.count] ?? 0;
    if (!(offset >= 0 && offset < end)) return undefined;
    return this.unit(Math.max(0, firstAtLeast(this.#offsets, offset + 1, this.count) - 1));
  }

  *units(): Iterable<Unit> {
    for (let i = 0; i < this.count; i += 1) yield this.unit(i);
  }
}
