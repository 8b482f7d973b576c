import { DWARF_RULES } from "./rules.js";
import * as dw from "./constants.js";
import { Die } from "./unit.js";
import type { PlacedDie } from "./walk.js";

/** An entry, the one it completes, the one that completes …: no producer needs more. */
const CHAIN_LIMIT = 16;

/**
 * The first of an entry and those it refers to by DW_AT_specification or DW_AT_abstract_origin for which
 * `accept` holds.
 *
 * @throws FormatError `dwarf/reference-loop`.
 */
export function originOf(die: Die, accept: (die: Die) => boolean): Die | undefined {
  let at: Die | undefined = die;
  for (let i = 0; at !== undefined; i += 1) {
    if (accept(at)) return at;
    if (i > CHAIN_LIMIT) {
      throw die.unit.section.error(DWARF_RULES.referenceLoop, die.offset, "an entry that completes itself");
    }
    at = at.reference(dw.DW_AT_specification) ?? at.reference(dw.DW_AT_abstract_origin);
  }
  return undefined;
}

/** Name of an entry, its own or that of the entry it completes. */
function nameOf(die: Die): string | undefined {
  return originOf(die, (origin) => origin.has(dw.DW_AT_name))?.string(dw.DW_AT_name);
}

/** Names of the functions, namespaces and types around an entry, the outermost first; blocks have none. */
export function scopeOf({ die, parents }: PlacedDie): string[] {
  const names: string[] = [];
  for (const offset of parents.slice(1)) {
    const parent = new Die(die.unit, offset);
    const name = nameOf(parent);
    if (name !== undefined) names.push(name);
    else if (parent.tag === dw.DW_TAG_subprogram) names.push("");
  }
  return names;
}
