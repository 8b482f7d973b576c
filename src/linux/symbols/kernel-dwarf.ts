import * as dw from "../../dwarf/constants.js";
import { DwarfWriter, type WrittenDwarf } from "../../dwarf/write.js";
import { btfHeader, type Btf, BTF_KIND } from "../btf.js";
import type { Kernel } from "../kernel.js";
import { VERSION } from "../../version.js";
import { BtfDwarf } from "./btf-dwarf.js";
import { type DeclaredType, declaredType, wellKnownType } from "./declared-type.js";
import { DwarfShapes } from "./dwarf-shapes.js";
import { linkAddress } from "./link-address.js";
import { MISSING_TYPES, type MissingType } from "./missing-types.js";
import { WELL_KNOWN_VARIABLES } from "./well-known.js";

/** Bytes of a type that is added: a kernel stack has 64 KiB at most. */
const LARGEST_MISSING = 1 << 20;

/** Debug information made from a kernel's BTF. */
export interface KernelDwarf extends WrittenDwarf {
  /** Variables with a type. */
  readonly variables: number;
}

/**
 * Debug information (DWARF 4) of a kernel from its BTF: all types, the functions whose code is known, per-CPU variables and
 * the well-known variables of kernels, at the addresses that the linker gave them.
 *
 * @param code address and bytes of a function, by name.
 * @throws AbsentError, FormatError that says why the kernel's symbols are missing.
 */
export function kernelDwarf(
  kernel: Kernel,
  btf: Btf,
  code: (name: string) => { readonly start: bigint; readonly size: number } | undefined,
): KernelDwarf {
  kernel.needSymbols();
  return new Unit(kernel, btf, code).write();
}

/** BTF's own strings: names in debug information are offsets into them. */
function stringsOf(btf: Btf): Uint8Array {
  const { headerLength, stringOffset, stringLength } = btfHeader.decode(btf.bytes, "little");
  const start = headerLength + stringOffset;
  return btf.bytes.subarray(start, start + stringLength);
}

class Unit {
  readonly #kernel: Kernel;
  readonly #btf: Btf;
  readonly #writer: DwarfWriter;
  readonly #shapes: DwarfShapes;
  readonly #types: BtfDwarf;
  /** Offsets of entries that BTF has not: their numbers go on from BTF's. */
  readonly #more: number[] = [];
  readonly #pointers = new Map<string, number>();

  constructor(
    kernel: Kernel,
    btf: Btf,
    code: (name: string) => { readonly start: bigint; readonly size: number } | undefined,
  ) {
    this.#kernel = kernel;
    this.#btf = btf;
    this.#writer = new DwarfWriter(stringsOf(btf));
    this.#shapes = new DwarfShapes(this.#writer);
    this.#types = new BtfDwarf(btf, this.#writer, this.#shapes, code);
  }

  write(): KernelDwarf {
    const writer = this.#writer;
    writer.unit();
    writer.begin(this.#shapes.unit);
    writer.info.u32(writer.string(`guestscope ${VERSION}, from BTF`));
    writer.info.u8(dw.DW_LANG_C99);
    writer.info.u32(writer.string("vmlinux"));
    writer.info.u32(writer.string("/"));
    this.#types.write();
    for (const type of MISSING_TYPES) this.#missing(type);
    const variables = this.#variables();
    writer.end();
    writer.endUnit();
    const { endId } = this.#btf;
    const offsetOf = (target: number): number =>
      target < endId ? this.#types.offsetOf(target) : (this.#more[target - endId] ?? 0);
    return { ...writer.finish(offsetOf), variables };
  }

  /** The number of the next entry that BTF has not, which begins here. */
  #next(): number {
    this.#more.push(this.#writer.info.length);
    return this.#btf.endId + this.#more.length - 1;
  }

  /** The number of a declared type; entries for pointers and arrays are written. */
  #declared(type: DeclaredType): number {
    let here = this.#types.target(type.base);
    for (let i = 0; i < type.pointers; i += 1) {
      const key = `${type.base} ${i}`;
      const known = this.#pointers.get(key);
      const target = here;
      here = known ?? this.#next();
      if (known !== undefined) continue;
      this.#pointers.set(key, here);
      this.#writer.begin(this.#shapes.modifier(dw.DW_TAG_pointer_type, false, target !== 0));
      this.#writer.info.u8(8);
      if (target !== 0) this.#writer.reference(target);
    }
    if (type.elements === undefined) return here;
    const array = this.#next();
    this.#types.array(here, type.elements);
    return array;
  }

  #missing(type: MissingType): void {
    if (this.#kernel.hasStruct(type.name)) return;
    const size = this.#sizeOf(type);
    if (size === undefined) return;
    const members: { readonly name: string; readonly type: number }[] = [];
    for (const [name, declaration] of type.members) {
      const declared = declaredType(this.#btf, declaration);
      if (declared === undefined) return;
      const element = this.#btf.head(declared.base)?.sizeOrType ?? 0;
      const count = element === 0 ? 0 : Math.floor(size / element);
      members.push({
        name,
        type: this.#declared(declared.elements === undefined ? declared : { ...declared, elements: count }),
      });
    }
    this.#writer.begin(this.#shapes.aggregate(dw.DW_TAG_union_type, true));
    this.#writer.info.u32(this.#writer.string(type.name));
    this.#writer.info.u32(size);
    for (const { name, type: target } of members) {
      this.#writer.begin(this.#shapes.member(true, false));
      this.#writer.info.u32(this.#writer.string(name));
      this.#writer.reference(target);
      this.#writer.info.u32(0);
    }
    this.#writer.end();
  }

  #sizeOf(type: MissingType): number | undefined {
    for (const [from, to] of type.size) {
      const start = this.#kernel.symbol(from);
      const end = this.#kernel.symbol(to);
      if (start !== undefined && end !== undefined && end > start && end - start <= BigInt(LARGEST_MISSING))
        return Number(end - start);
    }
    return undefined;
  }

  #variables(): number {
    let count = 0;
    for (const name of Object.keys(WELL_KNOWN_VARIABLES)) {
      const type = wellKnownType(this.#btf, name, () => this.#roomOf(name));
      if (type !== undefined && this.#variable(name, () => this.#declared(type))) count += 1;
    }
    for (let id = this.#btf.firstId; id < this.#btf.endId; id += 1) {
      const head = this.#btf.head(id);
      if (head?.kind !== BTF_KIND.variable) continue;
      const name = this.#btf.string(head.name);
      const type = this.#types.target(head.sizeOrType);
      if (type === 0 || Object.hasOwn(WELL_KNOWN_VARIABLES, name)) continue;
      if (this.#variable(name, () => type)) count += 1;
    }
    return count;
  }

  /** Bytes from a variable to the next symbol. */
  #roomOf(name: string): number {
    const address = this.#kernel.symbol(name);
    return address === undefined ? 0 : (this.#kernel.symbols?.place(address)?.size ?? 0);
  }

  /** Writes a variable; false when this kernel's symbols lack it. */
  #variable(name: string, typeOf: () => number): boolean {
    const address = this.#kernel.symbol(name);
    if (address === undefined) return false;
    const type = typeOf();
    if (type === 0) return false;
    this.#writer.begin(this.#shapes.variable);
    this.#writer.info.u32(this.#writer.string(name));
    this.#writer.reference(type);
    this.#writer.addressExpression(linkAddress(this.#kernel, address));
    return true;
  }
}
