import { DWARF_RULES } from "./rules.js";
import type { Abbreviation } from "./abbrev.js";
import { Die, unknownAbbreviation } from "./unit.js";
import { skipForm } from "./forms.js";
import type { Unit } from "./unit.js";

/**
 * Goes over the entries of a unit in the order of the file, without an object each: `next()` moves to an entry,
 * the properties tell which. It never goes back, so nothing can lead it in circles.
 */
export class DieWalk {
  /** Section offset of the entry. */
  offset = 0;
  /** Code of its abbreviation. */
  code = 0;
  /** 0 for the unit's own entry. */
  depth = 0;
  readonly #unit: Unit;
  readonly #parents: number[] = [];
  #position: number;
  #below = 0;

  constructor(unit: Unit, start: number = unit.entries) {
    this.#unit = unit;
    this.#position = start;
  }

  /** Offsets of the entries around the present one, the outermost first. */
  parents(): number[] {
    return this.#parents.slice(0, this.depth);
  }

  /**
   * @param wanted Children of entries that end before this offset, by DW_AT_sibling, are passed over.
   * @throws FormatError `dwarf/entry`, `dwarf/end` for a damaged entry.
   */
  next(wanted = 0): boolean {
    const unit = this.#unit;
    const { section, abbrevs, end } = unit;
    const { bytes } = section;
    let at = this.#position;
    for (;;) {
      if (at >= end) return false;
      const start = at;
      let code = bytes[at] ?? 0;
      at += 1;
      if (code >= 0x80) {
        code &= 0x7f;
        for (let scale = 128; ; scale *= 128) {
          const byte = at < end ? (bytes[at] ?? 0) : 0;
          at += 1;
          code += (byte & 0x7f) * scale;
          if (byte < 0x80) break;
          if (at - start > 16)
            throw section.error(DWARF_RULES.overflow, start, "LEB128 number without an end");
        }
      }
      if (code === 0) {
        this.#below -= 1;
        // what follows the end of the unit's own children is padding
        if (this.#below <= 0) return false;
        continue;
      }
      const abbreviation = abbrevs.get(code);
      if (abbreviation === undefined) throw unknownAbbreviation(unit, start, code);
      const { size, attributes } = abbreviation;
      const body = at;
      if (size >= 0) at += size;
      else for (const { form } of attributes) at = skipForm(section, at, end, form, unit);
      if (at > end) throw section.error(DWARF_RULES.end, start, "an entry goes beyond the end of its unit");
      this.offset = start;
      this.code = code;
      this.depth = this.#below;
      this.#parents[this.depth] = start;
      if (abbreviation.hasChildren) {
        const sibling = at < wanted ? siblingOf(unit, abbreviation, body) : 0;
        if (at < sibling && sibling <= wanted) at = sibling;
        else this.#below += 1;
      }
      this.#position = at;
      return true;
    }
  }
}

/** Offset of the entry after the children of one, where that is said in the usual form; 0 otherwise. */
function siblingOf(unit: Unit, { sibling }: Abbreviation, body: number): number {
  const { view, littleEndian } = unit.section;
  const at = body + sibling;
  return sibling < 0 || at + 4 > unit.end ? 0 : unit.offset + view.getUint32(at, littleEndian);
}

/** The direct children of an entry. */
export function* children(parent: Die): Iterable<Die> {
  if (!parent.hasChildren) return;
  const walk = new DieWalk(parent.unit, parent.offset);
  walk.next();
  while (walk.next() && walk.depth > 0) {
    if (walk.depth === 1) yield new Die(parent.unit, walk.offset);
  }
}

/** An entry and the entries around it, the outermost (the unit's own) first. */
export interface PlacedDie {
  readonly die: Die;
  readonly parents: readonly number[];
}

/** Which of `offsets` (ascending) are entries of the unit indeed, with what is around them. */
export function* confirm(unit: Unit, offsets: readonly number[]): Iterable<PlacedDie> {
  const walk = new DieWalk(unit);
  let i = 0;
  while (i < offsets.length && walk.next(offsets[i])) {
    while (i < offsets.length && (offsets[i] ?? 0) < walk.offset) i += 1;
    if (offsets[i] !== walk.offset) continue;
    yield { die: new Die(unit, walk.offset), parents: walk.parents() };
    i += 1;
  }
}
