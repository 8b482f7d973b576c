import { type Btf, BTF_KIND, type BtfHead } from "./btf.js";
import type { KernelMember, KernelType, KernelTypeKind, KernelTypes, NamedTypeKind } from "./types.js";

const KINDS: Readonly<Record<NamedTypeKind, readonly number[]>> = {
  struct: [BTF_KIND.struct],
  union: [BTF_KIND.union],
  enum: [BTF_KIND.enum, BTF_KIND.enum64],
  typedef: [BTF_KIND.typedef],
  int: [BTF_KIND.int, BTF_KIND.float],
};

/** Typedefs of typedefs, arrays of arrays: no program nests them this deep. */
const DEEPEST = 64;

const LOOKED_THROUGH: ReadonlySet<number> = new Set([
  BTF_KIND.typedef,
  BTF_KIND.volatile,
  BTF_KIND.const,
  BTF_KIND.restrict,
  BTF_KIND.typeTag,
]);

const NAMES: ReadonlyMap<number, KernelTypeKind> = new Map<number, KernelTypeKind>([
  [BTF_KIND.int, "int"],
  [BTF_KIND.float, "float"],
  [BTF_KIND.pointer, "pointer"],
  [BTF_KIND.array, "array"],
  [BTF_KIND.struct, "struct"],
  [BTF_KIND.union, "union"],
  [BTF_KIND.enum, "enum"],
  [BTF_KIND.enum64, "enum"],
  [BTF_KIND.function, "function"],
  [BTF_KIND.functionPrototype, "function"],
  [BTF_KIND.forward, "forward"],
]);

/** Types out of BTF, decoded one by one when they are asked for. */
export class BtfTypes implements KernelTypes {
  readonly origin: string;
  readonly #btf: Btf;
  readonly #pointerSize: number;
  readonly #types = new Map<number, KernelType>();

  constructor(btf: Btf, pointerSize: number, origin = "BTF") {
    this.origin = origin;
    this.#btf = btf;
    this.#pointerSize = pointerSize;
  }

  find(kind: NamedTypeKind, name: string): KernelType | undefined {
    const id = this.#btf.find(KINDS[kind], name);
    return id === undefined ? undefined : this.type(id);
  }

  variable(name: string): KernelType | undefined {
    const id = this.#btf.find([BTF_KIND.variable], name);
    return id === undefined ? undefined : this.type(this.#btf.head(id)?.sizeOrType ?? 0);
  }

  /** Type number `id` without typedefs and qualifiers. */
  type(id: number): KernelType {
    let here = id;
    for (let left = DEEPEST; left > 0; left -= 1) {
      const head = this.#btf.head(here);
      if (head === undefined || !LOOKED_THROUGH.has(head.kind)) break;
      here = head.sizeOrType;
    }
    const known = this.#types.get(here);
    if (known !== undefined) return known;
    const type = this.#make(here);
    this.#types.set(here, type);
    return type;
  }

  #make(id: number): KernelType {
    const head = this.#btf.head(id);
    const kind = head === undefined ? "void" : (NAMES.get(head.kind) ?? "void");
    const btf = this.#btf;
    let members: readonly KernelMember[] | undefined;
    const encoding = head?.kind === BTF_KIND.int ? head.view.getUint32(head.at, true) : 0;
    return {
      kind,
      name: head === undefined ? "" : btf.string(head.name),
      size: this.#sizeOf(id, 0),
      signed:
        head?.kind === BTF_KIND.int ? ((encoding >>> 24) & 1) === 1 : kind === "enum" && head?.flag === true,
      count: head?.kind === BTF_KIND.array ? head.view.getUint32(head.at + 8, true) : 0,
      target: () => {
        if (head?.kind === BTF_KIND.pointer) return this.type(head.sizeOrType);
        if (head?.kind === BTF_KIND.array) return this.type(head.view.getUint32(head.at, true));
        return undefined;
      },
      members: () => (members ??= head === undefined ? [] : this.#members(head)),
      enumerators: () => (head === undefined ? [] : this.#enumerators(head)),
    };
  }

  #sizeOf(id: number, depth: number): number {
    const head = this.#btf.head(id);
    if (head === undefined || depth > DEEPEST) return 0;
    switch (head.kind) {
      case BTF_KIND.int:
      case BTF_KIND.float:
      case BTF_KIND.struct:
      case BTF_KIND.union:
      case BTF_KIND.enum:
      case BTF_KIND.enum64:
        return head.sizeOrType;
      case BTF_KIND.pointer:
        return this.#pointerSize;
      case BTF_KIND.array: {
        const element = this.#sizeOf(head.view.getUint32(head.at, true), depth + 1);
        const size = element * head.view.getUint32(head.at + 8, true);
        return Number.isSafeInteger(size) ? size : 0;
      }
      default:
        return LOOKED_THROUGH.has(head.kind) ? this.#sizeOf(head.sizeOrType, depth + 1) : 0;
    }
  }

  #members(head: BtfHead): KernelMember[] {
    if (head.kind !== BTF_KIND.struct && head.kind !== BTF_KIND.union) return [];
    return Array.from({ length: head.count }, (_, i): KernelMember => {
      const at = head.at + 12 * i;
      const type = (): KernelType => this.type(head.view.getUint32(at + 4, true));
      const place = head.view.getUint32(at + 8, true);
      const bitSize = head.flag ? place >>> 24 : 0;
      return {
        name: this.#btf.string(head.view.getUint32(at, true)),
        bitOffset: head.flag ? place & 0xff_ffff : place,
        ...(bitSize === 0 ? {} : { bitSize }),
        get type() {
          return type();
        },
      };
    });
  }

  #enumerators(head: BtfHead): { readonly name: string; readonly value: bigint }[] {
    const isWide = head.kind === BTF_KIND.enum64;
    if (!isWide && head.kind !== BTF_KIND.enum) return [];
    return Array.from({ length: head.count }, (_, i) => {
      const at = head.at + (isWide ? 12 : 8) * i;
      const low = head.view.getUint32(at + 4, true);
      const raw = isWide ? (BigInt(head.view.getUint32(at + 8, true)) << 32n) | BigInt(low) : BigInt(low);
      const value = head.flag ? BigInt.asIntN(isWide ? 64 : 32, raw) : raw;
      return { name: this.#btf.string(head.view.getUint32(at, true)), value };
    });
  }
}
