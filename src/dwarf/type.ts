import type { Rule } from "../findings/rule.js";
import { DWARF_RULES } from "./rules.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import * as dw from "./constants.js";
import type { Die } from "./unit.js";
import { Cursor, DwarfSection } from "./section.js";
import { children } from "./walk.js";

/** What a type is. `qualifier`: const, volatile, atomic, restrict and their like. */
export type TypeKind =
  | "structure"
  | "class"
  | "union"
  | "enumeration"
  | "base"
  | "pointer"
  | "array"
  | "typedef"
  | "qualifier"
  | "function"
  | "void"
  | "other";

const KINDS: ReadonlyMap<number, TypeKind> = new Map([
  [dw.DW_TAG_structure_type, "structure"],
  [dw.DW_TAG_class_type, "class"],
  [dw.DW_TAG_union_type, "union"],
  [dw.DW_TAG_enumeration_type, "enumeration"],
  [dw.DW_TAG_base_type, "base"],
  [dw.DW_TAG_pointer_type, "pointer"],
  [dw.DW_TAG_reference_type, "pointer"],
  [dw.DW_TAG_rvalue_reference_type, "pointer"],
  [dw.DW_TAG_array_type, "array"],
  [dw.DW_TAG_typedef, "typedef"],
  [dw.DW_TAG_const_type, "qualifier"],
  [dw.DW_TAG_volatile_type, "qualifier"],
  [dw.DW_TAG_restrict_type, "qualifier"],
  [dw.DW_TAG_atomic_type, "qualifier"],
  [dw.DW_TAG_packed_type, "qualifier"],
  [dw.DW_TAG_immutable_type, "qualifier"],
  [dw.DW_TAG_subroutine_type, "function"],
]);

/** Kinds that can be looked up by name, with their tags. */
export const NAMED_KINDS = {
  structure: [dw.DW_TAG_structure_type],
  class: [dw.DW_TAG_class_type],
  union: [dw.DW_TAG_union_type],
  enumeration: [dw.DW_TAG_enumeration_type],
  typedef: [dw.DW_TAG_typedef],
  base: [dw.DW_TAG_base_type],
} as const;
/** Kinds of types that are looked up by name. */
export type NamedKind = keyof typeof NAMED_KINDS;

/** Typedefs, qualifiers, members in members: no program nests them this deep. */
const NESTING_LIMIT = 64;

/** What a type needs of the debug info it is from. */
export interface TypeContext {
  /** The type of an entry; void for undefined. */
  typeOf(die: Die | undefined): Type;
  /** The definition of what `die` only declares, wherever it is; undefined when there is none. */
  definitionOf(die: Die): Die | undefined;
}

/** A member of a structure, class or union as it was declared. */
export interface Member {
  /** Empty for an unnamed structure or union, whose members count as the outer one's. */
  readonly name: string;
  /** Bytes from the start of the structure; of a bit-field, where its storage is said to start. */
  readonly offset: number;
  readonly type: Type;
  /** Bytes don't say where it is: it can't be read through `field`. */
  readonly bitField: boolean;
}

/** Where a field named by a path is. */
export interface Field {
  /** Bytes from the start of the outermost structure. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  readonly type: Type;
}

/** A type of the program. */
export class Type {
  readonly kind: TypeKind;
  /** Undefined: void. */
  readonly die: Die | undefined;
  readonly #context: TypeContext;
  #members: readonly Member[] | undefined;
  #complete: Type | undefined;

  constructor(context: TypeContext, die: Die | undefined) {
    this.#context = context;
    this.die = die;
    this.kind = die === undefined ? "void" : (KINDS.get(die.tag) ?? "other");
  }

  get name(): string | undefined {
    return this.die?.string(dw.DW_AT_name);
  }

  /** Whether only the name is known here; `complete` finds the definition. */
  get isDeclaration(): boolean {
    return this.die?.flag(dw.DW_AT_declaration) ?? false;
  }

  /** What a pointer points at, an array consists of, a typedef or qualifier stands for. */
  get target(): Type {
    return this.#context.typeOf(this.die?.reference(dw.DW_AT_type));
  }

  /** The type without typedefs and qualifiers. @throws FormatError `dwarf/reference-loop`. */
  peel(): Type {
    return this.#peel(0);
  }

  #peel(depth: number): Type {
    if (this.kind !== "typedef" && this.kind !== "qualifier") return this;
    if (depth > NESTING_LIMIT) throw this.#error(DWARF_RULES.referenceLoop, "a type that refers to itself");
    return this.target.#peel(depth + 1);
  }

  /**
   * The definition of a type without typedefs and qualifiers, from wherever it is.
   *
   * @throws AbsentError `dwarf/incomplete-type` when there is none.
   */
  complete(): Type {
    this.#complete ??= this.#findDefinition();
    return this.#complete;
  }

  #findDefinition(): Type {
    const type = this.peel();
    const { die } = type;
    if (die === undefined || !(type.isDeclaration || die.has(dw.DW_AT_signature))) return type;
    const definition = this.#context.definitionOf(die);
    if (definition !== undefined) return this.#context.typeOf(definition);
    throw new AbsentError(DWARF_RULES.incompleteType, `${String(type)} is declared and nowhere defined`, {
      source: die.unit.file.name,
      record: `${die.unit.section.name}+0x${die.offset.toString(16)}`,
    });
  }

  /** Bytes; undefined for void, functions and arrays without a length. */
  get size(): number | undefined {
    return this.#sizeWithin(0);
  }

  #sizeWithin(depth: number): number | undefined {
    if (depth > NESTING_LIMIT) throw this.#error(DWARF_RULES.referenceLoop, "a type that refers to itself");
    const type = this.complete();
    const { die } = type;
    if (die === undefined) return undefined;
    const given = die.isConstant(dw.DW_AT_byte_size) ? die.unsigned(dw.DW_AT_byte_size) : undefined;
    if (given !== undefined) return given;
    if (type.kind === "pointer") return die.unit.addressSize;
    if (type.kind !== "array") return undefined;
    const { length } = type;
    const element = length === undefined ? undefined : type.target.#sizeWithin(depth + 1);
    return length === undefined || element === undefined ? undefined : length * element;
  }

  /** DW_ATE_… of a base type: 2 boolean, 5 signed, 7 unsigned, 6 and 8 the same for characters. */
  get encoding(): number | undefined {
    return this.peel().die?.unsigned(dw.DW_AT_encoding);
  }

  /** Elements of an array, all dimensions together; undefined where it isn't said. */
  get length(): number | undefined {
    const { die } = this.peel();
    if (die?.tag !== dw.DW_TAG_array_type) return undefined;
    let product: number | undefined;
    for (const child of children(die)) {
      if (child.tag !== dw.DW_TAG_subrange_type) continue;
      let count: number;
      if (child.isConstant(dw.DW_AT_count)) count = child.unsigned(dw.DW_AT_count) ?? 0;
      else if (child.isConstant(dw.DW_AT_upper_bound)) count = (upperBound(child) ?? -1) + 1;
      else return undefined;
      product = (product ?? 1) * count;
    }
    return product;
  }

  /** Members of a structure, class or union (or of a typedef of one), and its base classes as unnamed members. */
  members(): readonly Member[] {
    const type = this.complete();
    type.#members ??= type.#readMembers();
    return type.#members;
  }

  #readMembers(): Member[] {
    const { die } = this;
    if (die === undefined || !isAggregate(this)) return [];
    const members: Member[] = [];
    for (const child of children(die)) {
      const isMember = child.tag === dw.DW_TAG_member;
      if (!isMember && child.tag !== dw.DW_TAG_inheritance) continue;
      // static members of C++ are no part of the object
      if (child.flag(dw.DW_AT_declaration) || child.flag(dw.DW_AT_external)) continue;
      members.push({
        name: isMember ? (child.string(dw.DW_AT_name) ?? "") : "",
        offset: memberOffset(child),
        type: this.#context.typeOf(child.reference(dw.DW_AT_type)),
        bitField: child.has(dw.DW_AT_bit_size) || child.has(dw.DW_AT_data_bit_offset),
      });
    }
    return members;
  }

  /**
   * A field by its path: `addr.start`, `blocks.lh_first`; members of unnamed members count as the outer one's.
   * Undefined when there is no such field.
   *
   * @throws FormatError `dwarf/bit-field` for a bit-field; AbsentError `dwarf/incomplete-type`.
   */
  field(path: string): Field | undefined {
    let found: Field | undefined;
    for (const name of path.split(".")) {
      const outer: Type = found?.type ?? this;
      const member = outer.#member(name, 0);
      if (member === undefined) return undefined;
      if (member.bitField) throw this.#error(DWARF_RULES.bitField, `${String(this)}.${path} is a bit-field`);
      const { size } = member.type;
      if (size === undefined) throw this.#error(DWARF_RULES.size, `${String(this)}.${path} has no size`);
      found = { offset: (found?.offset ?? 0) + member.offset, size, type: member.type };
    }
    return found;
  }

  #member(name: string, depth: number): Member | undefined {
    if (depth > NESTING_LIMIT) throw this.#error(DWARF_RULES.referenceLoop, "a type that contains itself");
    const members = this.members();
    const direct = members.find((member) => member.name === name);
    if (direct !== undefined) return direct;
    for (const outer of members) {
      if (outer.name !== "" || !isAggregate(outer.type.peel())) continue;
      const inner = outer.type.#member(name, depth + 1);
      if (inner !== undefined) return { ...inner, offset: outer.offset + inner.offset };
    }
    return undefined;
  }

  /** As C writes it, in short: `struct FlatRange`, `FlatView *`. */
  toString(): string {
    return this.#describe(0);
  }

  #describe(depth: number): string {
    const { name } = this;
    if (depth > 8) return "…";
    if (this.kind === "void") return "void";
    if (this.kind === "structure") return `struct ${name ?? "{…}"}`;
    if (this.kind === "union" || this.kind === "class") return `${this.kind} ${name ?? "{…}"}`;
    if (this.kind === "enumeration") return `enum ${name ?? "{…}"}`;
    if (this.kind === "pointer") return `${this.target.#describe(depth + 1)} *`;
    if (this.kind === "array") return `${this.target.#describe(depth + 1)}[${this.length ?? ""}]`;
    return name ?? this.target.#describe(depth + 1);
  }

  #error(rule: Rule, message: string): Error {
    const { die } = this;
    if (die === undefined) return new AbsentError(rule, message);
    return die.unit.section.error(rule, die.offset, message);
  }
}

function isAggregate(type: Type): boolean {
  return type.kind === "structure" || type.kind === "union" || type.kind === "class";
}

/** DW_AT_upper_bound; -1, however it is written, stands for an array without elements. */
function upperBound(subrange: Die): number | undefined {
  try {
    const bound = subrange.unsigned(dw.DW_AT_upper_bound);
    return bound === 0xffffffff ? -1 : bound;
  } catch (error) {
    if (error instanceof FormatError && error.rule === DWARF_RULES.overflow) return -1;
    throw error;
  }
}

/** DW_AT_data_member_location: a constant, or DW_OP_plus_uconst from old producers. */
function memberOffset(member: Die): number {
  const expression = member.block(dw.DW_AT_data_member_location);
  if (expression === undefined) {
    return member.isConstant(dw.DW_AT_data_member_location)
      ? (member.unsigned(dw.DW_AT_data_member_location) ?? 0)
      : 0;
  }
  const { section } = member.unit;
  const cursor = new Cursor(
    new DwarfSection(section.file, section.name, expression, section.littleEndian, undefined),
    0,
  );
  if (cursor.u8() === dw.DW_OP_plus_uconst) {
    const offset = cursor.uleb();
    if (cursor.pos === expression.length) return offset;
  }
  throw section.error(DWARF_RULES.memberLocation, member.offset, "a member at no constant offset");
}
