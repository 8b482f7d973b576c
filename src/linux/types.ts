/** What a type of the kernel is; typedefs and qualifiers are looked through. */
export type KernelTypeKind =
  | "int"
  | "float"
  | "pointer"
  | "array"
  | "struct"
  | "union"
  | "enum"
  | "function"
  | "forward"
  | "void";

/** A type of the kernel, from BTF or from debug information. */
export interface KernelType {
  readonly kind: KernelTypeKind;
  /** Without `struct`; empty when it has none. */
  readonly name: string;
  /** Bytes; 0 where it has none (void, functions, forward declarations). */
  readonly size: number;
  /** Integers and enumerations: whether the top bit is a sign. */
  readonly signed: boolean;
  /** Elements of an array. */
  readonly count: number;
  /** What a pointer points to, an array consists of. */
  target(): KernelType | undefined;
  /** Of structures and unions, as declared; anonymous ones have an empty name. */
  members(): readonly KernelMember[];
  /** Names and values of an enumeration. */
  enumerators(): readonly { readonly name: string; readonly value: bigint }[];
}

/** A member of a structure or union. */
export interface KernelMember {
  readonly name: string;
  /** Bits from the start of the structure. */
  readonly bitOffset: number;
  /** Bits of a bit-field; undefined for other members. */
  readonly bitSize?: number;
  readonly type: KernelType;
}

/** Kinds of types that are looked up by name. */
export type NamedTypeKind = "struct" | "union" | "enum" | "typedef" | "int";

/** The types of one kernel. */
export interface KernelTypes {
  /** Where they come from: `BTF`, `DWARF of FILE`. */
  readonly origin: string;
  /** The type of that name; undefined when there is none. A typedef gives the type it stands for. */
  find(kind: NamedTypeKind, name: string): KernelType | undefined;
  /** The type of a global variable, where known: per-CPU variables in BTF, all in debug information. */
  variable?(name: string): KernelType | undefined;
}

/** Where a path of members leads. */
export interface MemberPlace {
  /** Bits from the start of the outermost structure. */
  readonly bitOffset: number;
  readonly bitSize?: number;
  readonly type: KernelType;
}

/** Members looked at for one name: structures that hold themselves end. */
const MOST_STEPS = 20_000;
const DEEPEST = 16;

const places = new WeakMap<KernelType, Map<string, MemberPlace | undefined>>();

/**
 * Finds a member by its path, through anonymous structures and unions: `comm`, `thread.sp`,
 * `rss_stat.count[1].counter`. Undefined when the type has no such member.
 */
export function findMember(type: KernelType, path: string): MemberPlace | undefined {
  let known = places.get(type);
  if (known === undefined) {
    known = new Map();
    places.set(type, known);
  }
  if (known.has(path)) return known.get(path);
  const place = walkPath(type, path);
  known.set(path, place);
  return place;
}

function walkPath(type: KernelType, path: string): MemberPlace | undefined {
  let here: MemberPlace = { bitOffset: 0, type };
  for (const [part] of path.matchAll(/[^.[\]]+/g)) {
    if (here.type.kind === "array" && /^\d{1,9}$/.test(part)) {
      const element = here.type.target();
      // the last array of a structure may be longer than declared
      const index = Number(part);
      if (element === undefined || (here.type.count > 0 && index >= here.type.count)) return undefined;
      here = { bitOffset: here.bitOffset + index * element.size * 8, type: element };
      continue;
    }
    const member = memberOf(here.type, part, { left: MOST_STEPS }, 0);
    if (member === undefined) return undefined;
    here = { ...member, bitOffset: here.bitOffset + member.bitOffset };
  }
  return here;
}

function memberOf(
  type: KernelType,
  name: string,
  budget: { left: number },
  depth: number,
): MemberPlace | undefined {
  if (depth > DEEPEST) return undefined;
  const members = type.members();
  for (const member of members) if (member.name === name) return member;
  for (const member of members) {
    budget.left -= 1;
    if (budget.left < 0) return undefined;
    if (member.name !== "" || (member.type.kind !== "struct" && member.type.kind !== "union")) continue;
    const inner = memberOf(member.type, name, budget, depth + 1);
    if (inner !== undefined) return { ...inner, bitOffset: member.bitOffset + inner.bitOffset };
  }
  return undefined;
}
