import { type Btf, BTF_KIND } from "../btf.js";
import { WELL_KNOWN_VARIABLES } from "./well-known.js";

/** The type of a variable as C declares it, on a type of BTF. */
export interface DeclaredType {
  /** Number of the type in BTF; 0: void. */
  readonly base: number;
  /** How many times a pointer to it. */
  readonly pointers: number;
  /** Elements of an array of that; 0: of unknown length; undefined: no array. */
  readonly elements: number | undefined;
}

/** Bytes of a pointer. */
const POINTER = 8;

const NAMED_KINDS = [
  BTF_KIND.struct,
  BTF_KIND.union,
  BTF_KIND.enum,
  BTF_KIND.enum64,
  BTF_KIND.typedef,
  BTF_KIND.int,
  BTF_KIND.float,
];

/**
 * A declaration such as `mem_section **`, `char[]`, `unsigned char[enum maple_type]` (as many elements as the enumeration
 * has values), `atomic_t[enum item.NR_ITEMS]` (as many as that value says) or `char *[fit]` (as many as `room` bytes hold)
 * on this kernel's types; undefined when it has no such type.
 */
export function declaredType(
  btf: Btf,
  declaration: string,
  room: () => number = () => 0,
): DeclaredType | undefined {
  const parts = /^([a-z_0-9][\w ]*?) ?(\**)(?:\[(?:enum (\w+)(?:\.(\w+))?|(fit))?(\])?)?$/i.exec(declaration);
  if (parts === null) return undefined;
  const [, name = "", stars = "", counted, last, fit, bracket] = parts;
  const base = name === "void" ? 0 : btf.find(NAMED_KINDS, name);
  if (base === undefined) return undefined;
  if (bracket === undefined) return { base, pointers: stars.length, elements: undefined };
  const pointers = stars.length;
  if (fit === undefined)
    return { base, pointers, elements: counted === undefined ? 0 : countOf(btf, counted, last) };
  const element = pointers > 0 ? POINTER : (btf.head(base)?.sizeOrType ?? 0);
  return { base, pointers, elements: element === 0 ? 0 : Math.floor(room() / element) };
}

/** Values of an enumeration, or the number that one of them stands for; 0 when this kernel lacks it. */
function countOf(btf: Btf, enumeration: string, value: string | undefined): number {
  const id = btf.find([BTF_KIND.enum], enumeration);
  const head = id === undefined ? undefined : btf.head(id);
  if (head === undefined) return 0;
  if (value === undefined) return head.count;
  for (let i = 0; i < head.count; i += 1) {
    const at = head.at + 8 * i;
    if (btf.string(head.view.getUint32(at, true)) === value) return head.view.getInt32(at + 4, true);
  }
  return 0;
}

/**
 * The type of a well-known variable of the kernel; undefined for other variables and where the type is missing.
 *
 * @param room bytes from the variable to the next symbol; 0 where they are not known.
 */
export function wellKnownType(btf: Btf, variable: string, room: () => number): DeclaredType | undefined {
  if (!Object.hasOwn(WELL_KNOWN_VARIABLES, variable)) return undefined;
  for (const declaration of WELL_KNOWN_VARIABLES[variable] ?? []) {
    const type = declaredType(btf, declaration, room);
    if (type !== undefined) return type;
  }
  return undefined;
}
