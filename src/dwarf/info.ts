// over 350 lines: look-ups by name, by kind and by scope share the caches of one class
import { appendTo } from "../binary/arrays.js";
import type { Rule } from "../findings/rule.js";
import { DWARF_RULES } from "./rules.js";
import type { ElfFile } from "../elf/file.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import * as dw from "./constants.js";
import { Die } from "./unit.js";
import { DwarfFile } from "./file.js";
import { plainAddress } from "./location.js";
import { indexedUnits } from "./name-index.js";
import { type Candidates, nameHits, type NameQuery, searchName } from "./name-search.js";
import { findReferrers } from "./referrers.js";
import { originOf, scopeOf } from "./scope.js";
import { loadSplitUnits, type SplitOptions } from "./split.js";
import { NAMED_KINDS, type NamedKind, Type, type TypeContext } from "./type.js";
import type { EntryArea, Unit } from "./unit.js";
import { confirm, type PlacedDie } from "./walk.js";

/** Definitions that only refer to a named entry which refers to another one: no producer goes deeper. */
const ORIGIN_ROUNDS = 4;
const VARIABLE: readonly number[] = [dw.DW_TAG_variable];

/** The other files that debugging information may be spread over. */
export interface DebugInfoOptions extends SplitOptions {
  /** The file that `.gnu_debugaltlink` or `.debug_sup` names (made by `dwz -m`). */
  readonly alternate?: ElfFile;
}

/** A variable with a fixed address. */
export interface Variable {
  readonly name: string;
  /** Link-time address: add the load bias. */
  readonly address: bigint;
  readonly type: Type;
  /** Visible to other units (no `static`). */
  readonly external: boolean;
  /** Source file of the unit that defines it. */
  readonly unit: string | undefined;
}

/**
 * The debugging information of a program: variables and types by name.
 *
 * Sections are held in memory unpacked, as long as this object is; all look-ups are synchronous.
 */
export class DebugInfo implements TypeContext {
  /** The program's own file first, then its alternate and split files. */
  readonly files: readonly DwarfFile[];
  /** Split files that skeleton units name and nobody gave: their units are not searched. */
  readonly missingSplit: readonly string[];
  readonly #types = new Map<EntryArea, Map<number, Type>>();
  readonly #named = new Map<string, Type | undefined>();

  private constructor(files: readonly DwarfFile[], missingSplit: readonly string[]) {
    this.files = files;
    this.missingSplit = missingSplit;
  }

  /**
   * Loads debug info from the program itself or its separate debug file.
   *
   * @throws AbsentError `dwarf/none` for a file without; FormatError `dwarf/…`, `elf/…` for a damaged one.
   */
  static async open(elf: ElfFile, options: DebugInfoOptions = {}): Promise<DebugInfo> {
    const main = await DwarfFile.load(elf);
    if (main === undefined) {
      throw new AbsentError(DWARF_RULES.none, "has no debugging information (.debug_info)", {
        source: elf.name,
      });
    }
    const files = [main];
    if (options.alternate !== undefined) {
      const alternate = await DwarfFile.load(options.alternate);
      if (alternate !== undefined) files.push(alternate);
      main.alternate = alternate;
    }
    const split = await loadSplitUnits(main, options);
    return new DebugInfo([...files, ...split.files], split.missing);
  }

  /** Bytes of sections in memory. */
  get size(): number {
    return this.files.reduce((sum, file) => sum + file.size, 0);
  }

  /**
   * A variable by name: of a unit (`ram_list`), or of a function or namespace (`function::variable`).
   * One that other units see goes before static ones of its name. Undefined when there is none with an address.
   *
   * @throws FormatError `dwarf/ambiguous-variable` when several are equally good; AbsentError
   *   `dwarf/alternate-missing`, `dwarf/split-missing` when it may be in a file that was not given.
   */
  variable(name: string): Variable | undefined {
    const all = this.variables(name);
    const best = all.some(({ external }) => external) ? all.filter(({ external }) => external) : all;
    const [first] = best;
    const other = best.find(({ address }) => address !== first?.address);
    if (first === undefined) this.#checkWhole(`variable ${name}`);
    if (first === undefined || other === undefined) return first;
    const text = `several variables ${name}: in ${first.unit ?? "?"} and in ${other.unit ?? "?"}`;
    throw this.#mainError(DWARF_RULES.ambiguousVariable, text);
  }

  /** All variables of a name that have a fixed address. */
  variables(name: string): Variable[] {
    const path = name.split("::");
    const last = path.pop() ?? name;
    const indexed = this.files.flatMap((file) => {
      const units = indexedUnits(file, last, VARIABLE);
      return units === undefined ? [] : this.#variablesOf(file, last, path, units);
    });
    if (indexed.length > 0) return indexed;
    return this.files.flatMap((file) => this.#variablesOf(file, last, path, undefined));
  }

  #variablesOf(
    file: DwarfFile,
    name: string,
    scope: readonly string[],
    units: readonly Unit[] | undefined,
  ): Variable[] {
    const found: Variable[] = [];
    const query = { name, tags: VARIABLE, ...(units === undefined ? {} : { units }) };
    // entries that have no address of their own; declarations are many and only confirmed when one completes them
    let pending: Die[] = [];
    for (const { unit, offsets } of searchName(file, query)) {
      const [declarations, others] = splitDeclarations(unit, offsets);
      appendTo(pending, declarations);
      for (const placed of confirm(unit, others)) {
        if (placed.die.string(dw.DW_AT_name) !== name || !inScope(placed, scope)) continue;
        const variable = this.#variable(placed.die, name);
        if (variable === undefined) pending.push(placed.die);
        else found.push(variable);
      }
    }
    if (found.some(({ external }) => external)) return found;
    const users = this.files.filter((user) => user === file || user.alternate === file);
    for (let round = 0; pending.length > 0 && round < ORIGIN_ROUNDS; round += 1) {
      const next: Die[] = [];
      for (const user of users) {
        for (const die of findReferrers(user, pending)) {
          if (!isNamed(die, name, scope)) continue;
          const variable = this.#variable(die, name);
          if (variable === undefined) {
            next.push(die);
            continue;
          }
          found.push(variable);
          // a program has one of that name that other units see
          if (variable.external) return found;
        }
      }
      pending = next;
    }
    return found;
  }

  #variable(die: Die, name: string): Variable | undefined {
    const address = plainAddress(die);
    if (address === undefined) return undefined;
    const typed = originOf(die, (origin) => origin.has(dw.DW_AT_type));
    const external = originOf(die, (origin) => origin.flag(dw.DW_AT_external)) !== undefined;
    const type = this.typeOf(typed?.reference(dw.DW_AT_type));
    return { name, address, type, external, unit: die.unit.name };
  }

  /**
   * The type of a variable that other units see, by the first entry that gives it: a declaration will do, and is
   * found sooner than the definition. For callers that have the address from elsewhere, a symbol table.
   */
  externalType(name: string): Type | undefined {
    const query = { name, tags: VARIABLE };
    for (const { die, parents } of this.#entries(query)) {
      if (!die.flag(dw.DW_AT_external) || !die.has(dw.DW_AT_type) || !inScope({ die, parents }, [])) continue;
      return this.typeOf(die.reference(dw.DW_AT_type));
    }
    return undefined;
  }

  /** Entries of a name one by one, those of units that an index lists first; some may come twice. */
  *#entries(query: NameQuery): Iterable<PlacedDie> {
    for (const indexed of [true, false]) {
      for (const file of this.files) {
        const units = indexed ? indexedUnits(file, query.name, query.tags) : undefined;
        if (indexed && units === undefined) continue;
        for (const { unit, offset } of nameHits(file, units === undefined ? query : { ...query, units })) {
          for (const placed of confirm(unit, [offset])) {
            if (placed.die.string(dw.DW_AT_name) === query.name) yield placed;
          }
        }
      }
    }
  }

  /**
   * The definition of a type by kind and name, outside of functions. Undefined when there is none.
   *
   * @throws FormatError `dwarf/ambiguous-type` when units define different types of that name; AbsentError
   *   `dwarf/alternate-missing`, `dwarf/split-missing` when it may be in a file that was not given.
   */
  type(kind: NamedKind, name: string): Type | undefined {
    const key = `${kind} ${name}`;
    if (!this.#named.has(key)) {
      const path = name.split("::");
      const last = path.pop() ?? name;
      const die = this.#definition(NAMED_KINDS[kind], last, path, undefined);
      if (die === undefined) this.#checkWhole(`${kind} ${name}`);
      this.#named.set(key, die === undefined ? undefined : this.typeOf(die));
    }
    return this.#named.get(key);
  }

  /** See TypeContext. */
  typeOf(die: Die | undefined): Type {
    if (die === undefined) return new Type(this, undefined);
    const { area } = die.unit;
    const known = this.#types.get(area) ?? new Map<number, Type>();
    this.#types.set(area, known);
    const type = known.get(die.offset) ?? new Type(this, die);
    known.set(die.offset, type);
    return type;
  }

  /** See TypeContext. */
  definitionOf(die: Die): Die | undefined {
    const bySignature = die.reference(dw.DW_AT_signature);
    if (bySignature !== undefined) return bySignature;
    const name = die.string(dw.DW_AT_name);
    // an empty name is none, and every text of the file ends with one
    if (name === undefined || name === "") return undefined;
    const [placed] = confirm(die.unit, [die.offset]);
    const scope = placed === undefined ? [] : scopeOf(placed);
    const kind = Object.values(NAMED_KINDS).find((tags: readonly number[]) => tags.includes(die.tag));
    return kind === undefined ? undefined : this.#definition(kind, name, scope, die.unit);
  }

  /** A definition by name, in `near` (the unit of a declaration) before others. */
  #definition(
    tags: readonly number[],
    name: string,
    scope: readonly string[],
    near: Unit | undefined,
  ): Die | undefined {
    if (tags === NAMED_KINDS.typedef) {
      // one is as good as another: they have no size that could differ
      for (const placed of this.#entries({ name, tags })) if (inScope(placed, scope)) return placed.die;
      return undefined;
    }
    const search = (units: (file: DwarfFile) => readonly Unit[] | undefined | null): Die | undefined => {
      const all = this.files.flatMap((file) => {
        const some = units(file);
        if (some === null) return [];
        const query = { name, tags, definitions: true, ...(some === undefined ? {} : { units: some }) };
        return searchName(file, query);
      });
      return this.#choose(all, name, scope);
    };
    if (near !== undefined) {
      const own = search((file) => (near.file === file ? [near] : null));
      if (own !== undefined) return own;
    }
    return search((file) => indexedUnits(file, name, tags) ?? null) ?? search(() => undefined);
  }

  /** The first definition; the others are only asked for their size, unless that differs. */
  #choose(all: readonly Candidates[], name: string, scope: readonly string[]): Die | undefined {
    let chosen: Die | undefined;
    let size: number | undefined;
    for (const { unit, offsets } of all) {
      const known = chosen;
      const doubtful =
        known === undefined ? offsets : offsets.filter((offset) => declaredSize(unit, offset) !== size);
      if (doubtful.length === 0) continue;
      for (const placed of confirm(unit, doubtful)) {
        const { die } = placed;
        if (die.flag(dw.DW_AT_declaration) || die.has(dw.DW_AT_signature)) continue;
        if (die.string(dw.DW_AT_name) !== name || !inScope(placed, scope)) continue;
        if (chosen === undefined) {
          chosen = die;
          size = sizeOf(die);
        } else if (sizeOf(die) !== size) {
          const units = `${chosen.unit.name ?? "?"} and ${die.unit.name ?? "?"}`;
          throw this.#mainError(DWARF_RULES.ambiguousType, `${name} is not the same type in ${units}`);
        }
      }
    }
    return chosen;
  }

  /** What isn't found may be in a file that nobody gave. */
  #checkWhole(what: string): void {
    const [main] = this.files;
    const link = main?.alternate === undefined ? main?.alternateLink : undefined;
    const lacking = [...(link === undefined ? [] : [link.name]), ...this.missingSplit];
    const [first] = lacking;
    if (first === undefined) return;
    const more = lacking.length > 1 ? ` and ${lacking.length - 1} more` : "";
    const id = link === undefined || link.buildId === "" ? "" : ` (build id ${link.buildId})`;
    const rule = link === undefined ? DWARF_RULES.splitMissing : DWARF_RULES.alternateMissing;
    const text = `${what} is not in the debug info at hand; ${first}${id}${more}, which may hold it, was not found`;
    throw new AbsentError(rule, text, { source: main?.name ?? "" });
  }

  #mainError(rule: Rule, message: string): Error {
    const section = this.files[0]?.areas[0]?.section;
    return section?.error(rule, 0, message) ?? new AbsentError(rule, message);
  }
}

/** Unconfirmed entries: those that read as declarations, and the offsets of all others. */
function splitDeclarations(unit: Unit, offsets: readonly number[]): [Die[], number[]] {
  const declarations: Die[] = [];
  const others: number[] = [];
  for (const offset of offsets) {
    const die = readUnconfirmed(unit, offset);
    if (die?.flag(dw.DW_AT_declaration) === true) declarations.push(die);
    else others.push(offset);
  }
  return [declarations, others];
}

/** Whether what an entry completes is an entry indeed, of that name and place. */
function isNamed(die: Die, name: string, scope: readonly string[]): boolean {
  const named = originOf(die, (origin) => origin.has(dw.DW_AT_name));
  if (named === undefined) return false;
  const [placed] = confirm(named.unit, [named.offset]);
  return placed !== undefined && placed.die.string(dw.DW_AT_name) === name && inScope(placed, scope);
}

/** Whether an entry is where the path says: directly in a unit for an empty one. */
function inScope(placed: PlacedDie, scope: readonly string[]): boolean {
  const names = scopeOf(placed);
  const tail = names.slice(names.length - scope.length);
  // an unqualified name is one of the unit; a qualified one may leave out outer namespaces
  return scope.length === 0 ? names.length === 0 : scope.every((name, i) => tail[i] === name);
}

function sizeOf(die: Die): number | undefined {
  return die.isConstant(dw.DW_AT_byte_size) ? die.unsigned(dw.DW_AT_byte_size) : undefined;
}

/** Size at a candidate that nothing has confirmed yet; NaN where no entry can be. */
function declaredSize(unit: Unit, offset: number): number | undefined {
  const die = readUnconfirmed(unit, offset);
  return die === undefined ? Number.NaN : sizeOf(die);
}

/** An entry at an offset that may be in the midst of other data; undefined where none can be. */
function readUnconfirmed(unit: Unit, offset: number): Die | undefined {
  try {
    return new Die(unit, offset);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
