import * as dw from "../dwarf/constants.js";
import type { Die } from "../dwarf/unit.js";
import type { DebugInfo } from "../dwarf/info.js";
import type { NamedKind, Type, TypeKind } from "../dwarf/type.js";
import { children } from "../dwarf/walk.js";
import type { KernelMember, KernelType, KernelTypeKind, KernelTypes, NamedTypeKind } from "./types.js";

const DW_TAG_enumerator = 0x28;
const DW_AT_const_value = 0x1c;
const DW_AT_bit_offset = 0x0c;
const SIGNED: ReadonlySet<number | undefined> = new Set([5, 6]);

const NAMED: Readonly<Record<NamedTypeKind, NamedKind>> = {
  struct: "structure",
  union: "union",
  enum: "enumeration",
  typedef: "typedef",
  int: "base",
};

const KINDS: Readonly<Record<TypeKind, KernelTypeKind>> = {
  structure: "struct",
  class: "struct",
  union: "union",
  enumeration: "enum",
  base: "int",
  pointer: "pointer",
  array: "array",
  typedef: "void",
  qualifier: "void",
  function: "function",
  void: "void",
  other: "void",
};

/** Types out of a kernel's debug information. */
export class DwarfTypes implements KernelTypes {
  readonly origin: string;
  readonly #info: DebugInfo;
  readonly #known = new Map<Die | undefined, KernelType>();

  constructor(info: DebugInfo, origin: string) {
    this.#info = info;
    this.origin = origin;
  }

  find(kind: NamedTypeKind, name: string): KernelType | undefined {
    const type = this.#info.type(NAMED[kind], name);
    return type === undefined ? undefined : this.#from(type);
  }

  variable(name: string): KernelType | undefined {
    const variable = this.#info.variable(name);
    return variable === undefined ? undefined : this.#from(variable.type);
  }

  #from(given: Type): KernelType {
    const peeled = given.peel();
    const known = this.#known.get(peeled.die);
    if (known !== undefined) return known;
    // what is only declared in its unit has its definition in another one
    const type = peeled.isDeclaration && hasDefinition(peeled) ? peeled.complete() : peeled;
    const made = this.#make(type);
    this.#known.set(peeled.die, made);
    return made;
  }

  #make(type: Type): KernelType {
    let members: readonly KernelMember[] | undefined;
    const { die } = type;
    const { encoding } = type;
    const isForward = type.isDeclaration;
    return {
      kind: isForward ? "forward" : encoding === 4 ? "float" : KINDS[type.kind],
      name: type.name ?? "",
      size: isForward ? 0 : (type.size ?? 0),
      signed: type.kind === "base" ? SIGNED.has(encoding) : false,
      count: type.kind === "array" ? (type.length ?? 0) : 0,
      target: () => (type.kind === "pointer" || type.kind === "array" ? this.#from(type.target) : undefined),
      members: () => (members ??= die === undefined || isForward ? [] : this.#members(type, die)),
      enumerators: () => (die === undefined || type.kind !== "enumeration" ? [] : enumerators(die)),
    };
  }

  #members(type: Type, die: Die): KernelMember[] {
    if (type.kind !== "structure" && type.kind !== "union" && type.kind !== "class") return [];
    const all = type.members();
    const dies = [...children(die)].filter((child) => child.tag === dw.DW_TAG_member);
    return all.map((member, i): KernelMember => {
      const child = dies[i];
      const from = (): KernelType => this.#from(member.type);
      return {
        name: member.name,
        ...(member.bitField && child !== undefined
          ? bitField(child, member.offset, member.type)
          : { bitOffset: member.offset * 8 }),
        get type() {
          return from();
        },
      };
    });
  }
}

function hasDefinition(type: Type): boolean {
  try {
    return type.complete() !== type;
  } catch {
    return false;
  }
}

/** Where a bit-field is: DWARF 4's bit offset from the structure's start, or DWARF 2's from its storage's top. */
function bitField(member: Die, offset: number, type: Type): Pick<KernelMember, "bitOffset" | "bitSize"> {
  const bitSize = member.unsigned(dw.DW_AT_bit_size) ?? 0;
  const whole = member.unsigned(dw.DW_AT_data_bit_offset);
  if (whole !== undefined) return { bitOffset: whole, bitSize };
  const fromTop = member.unsigned(DW_AT_bit_offset) ?? 0;
  const storage = member.unsigned(dw.DW_AT_byte_size) ?? type.size ?? 0;
  return { bitOffset: offset * 8 + storage * 8 - fromTop - bitSize, bitSize };
}

function enumerators(die: Die): { readonly name: string; readonly value: bigint }[] {
  return [...children(die)].flatMap((child) => {
    if (child.tag !== DW_TAG_enumerator) return [];
    const value = child.isConstant(DW_AT_const_value) ? child.unsignedBig(DW_AT_const_value) : undefined;
    return value === undefined ? [] : [{ name: child.string(dw.DW_AT_name) ?? "", value }];
  });
}
