import * as dw from "../../dwarf/constants.js";
import { type DwarfWriter } from "../../dwarf/write.js";
import { type Btf, type BtfHead, BTF_KIND } from "../btf.js";
import { DwarfShapes } from "./dwarf-shapes.js";

/** BTF's encodings of integers. */
const SIGNED = 1;
const BOOL = 4;
/** Tags of tags: no compiler nests them this deep. */
const DEEPEST = 16;

/** Writes every type of a block of BTF as DWARF. */
export class BtfDwarf {
  readonly #btf: Btf;
  readonly #writer: DwarfWriter;
  readonly #shapes: DwarfShapes;
  /** Offset in the unit of each type's entry. */
  readonly #offsets: Uint32Array;
  /** Place of a function's code by its name; undefined where it is not known. */
  readonly #code: (name: string) => { readonly start: bigint; readonly size: number } | undefined;

  /**
   * @param writer whose strings begin with BTF's own.
   * @param code address and bytes of a function, by name.
   */
  constructor(
    btf: Btf,
    writer: DwarfWriter,
    shapes: DwarfShapes,
    code: (name: string) => { readonly start: bigint; readonly size: number } | undefined,
  ) {
    this.#btf = btf;
    this.#writer = writer;
    this.#shapes = shapes;
    this.#code = code;
    this.#offsets = new Uint32Array(btf.endId);
  }

  /** Offset of a type's entry. */
  offsetOf(id: number): number {
    return this.#offsets[id] ?? 0;
  }

  /** The number of the type that has an entry: tags have none; 0 for void. */
  target(id: number): number {
    let here = id;
    for (let left = DEEPEST; left > 0; left -= 1) {
      const head = this.#btf.head(here);
      if (head === undefined) return 0;
      if (head.kind !== BTF_KIND.typeTag) return HAS_ENTRY.has(head.kind) ? here : 0;
      here = head.sizeOrType;
    }
    return 0;
  }

  /** Writes all types. */
  write(): void {
    for (let id = 1; id < this.#btf.endId; id += 1) {
      const head = this.#btf.head(id);
      if (head !== undefined && HAS_ENTRY.has(head.kind)) {
        this.#offsets[id] = this.#writer.info.length;
        this.#entry(head);
      } else if (head?.kind === BTF_KIND.function) this.#function(head);
    }
  }

  #entry(head: BtfHead): void {
    const { info } = this.#writer;
    const shapes = this.#shapes;
    switch (head.kind) {
      case BTF_KIND.int:
      case BTF_KIND.float:
        this.#writer.begin(shapes.base);
        info.u32(head.name);
        info.u8(head.sizeOrType);
        info.u8(this.#encoding(head));
        return;
      case BTF_KIND.pointer:
        this.#modifier(dw.DW_TAG_pointer_type, head, false);
        return;
      case BTF_KIND.const:
        this.#modifier(dw.DW_TAG_const_type, head, false);
        return;
      case BTF_KIND.volatile:
        this.#modifier(dw.DW_TAG_volatile_type, head, false);
        return;
      case BTF_KIND.restrict:
        this.#modifier(dw.DW_TAG_restrict_type, head, false);
        return;
      case BTF_KIND.typedef:
        this.#modifier(dw.DW_TAG_typedef, head, true);
        return;
      case BTF_KIND.array:
        this.array(this.target(head.view.getUint32(head.at, true)), head.view.getUint32(head.at + 8, true));
        return;
      case BTF_KIND.forward:
        this.#writer.begin(head.flag ? shapes.unionDeclaration : shapes.structDeclaration);
        info.u32(head.name);
        return;
      case BTF_KIND.struct:
      case BTF_KIND.union:
        this.#structure(head);
        return;
      case BTF_KIND.enum:
      case BTF_KIND.enum64:
        this.#enumeration(head);
        return;
      default:
        this.#prototype(head);
    }
  }

  #encoding(head: BtfHead): number {
    if (head.kind === BTF_KIND.float) return dw.DW_ATE_float;
    const encoding = (head.view.getUint32(head.at, true) >>> 24) & 0xf;
    if ((encoding & BOOL) !== 0) return dw.DW_ATE_boolean;
    const isSigned = (encoding & SIGNED) !== 0;
    // gdb prints texts of these only
    const name = this.#btf.string(head.name);
    if (head.sizeOrType === 1 && name.endsWith("char"))
      return name === "unsigned char" ? dw.DW_ATE_unsigned_char : dw.DW_ATE_signed_char;
    return isSigned ? dw.DW_ATE_signed : dw.DW_ATE_unsigned;
  }

  #modifier(tag: number, head: BtfHead, isNamed: boolean): void {
    const target = this.target(head.sizeOrType);
    this.#writer.begin(this.#shapes.modifier(tag, isNamed, target !== 0));
    if (isNamed) this.#writer.info.u32(head.name);
    if (tag === dw.DW_TAG_pointer_type) this.#writer.info.u8(8);
    if (target !== 0) this.#writer.reference(target);
  }

  /** An array of `count` elements; 0: of unknown length. */
  array(element: number, count: number): void {
    const shapes = this.#shapes;
    this.#writer.begin(element === 0 ? shapes.arrayOfVoid : shapes.array);
    if (element !== 0) this.#writer.reference(element);
    this.#writer.begin(count === 0 ? shapes.rangeWithoutEnd : shapes.range);
    if (count !== 0) this.#writer.info.u32(count - 1);
    this.#writer.end();
  }

  #structure(head: BtfHead): void {
    const { info } = this.#writer;
    const shapes = this.#shapes;
    const isNamed = this.#btf.hasString(head.name);
    this.#writer.begin(
      shapes.aggregate(
        head.kind === BTF_KIND.union ? dw.DW_TAG_union_type : dw.DW_TAG_structure_type,
        isNamed,
      ),
    );
    if (isNamed) info.u32(head.name);
    info.u32(head.sizeOrType);
    const { view } = head;
    for (let i = 0; i < head.count; i += 1) {
      const at = head.at + 12 * i;
      const name = view.getUint32(at, true);
      const type = this.target(view.getUint32(at + 4, true));
      const place = view.getUint32(at + 8, true);
      const bits = head.flag ? place >>> 24 : 0;
      const bitOffset = head.flag ? place & 0xff_ffff : place;
      // a member of no type can't be
      if (type === 0) continue;
      const isMemberNamed = this.#btf.hasString(name);
      this.#writer.begin(shapes.member(isMemberNamed, bits !== 0));
      if (isMemberNamed) info.u32(name);
      this.#writer.reference(type);
      if (bits === 0) info.u32(bitOffset >>> 3);
      else {
        info.u8(bits);
        info.u32(bitOffset);
      }
    }
    this.#writer.end();
  }

  #enumeration(head: BtfHead): void {
    const { info } = this.#writer;
    const shapes = this.#shapes;
    const isWide = head.kind === BTF_KIND.enum64;
    const isNamed = this.#btf.hasString(head.name);
    if (head.count === 0 && isNamed) {
      // BTF's way to declare an enumeration without its values
      this.#writer.begin(shapes.enumDeclaration);
      info.u32(head.name);
      return;
    }
    this.#writer.begin(shapes.aggregate(dw.DW_TAG_enumeration_type, isNamed));
    if (isNamed) info.u32(head.name);
    info.u32(head.sizeOrType);
    const { view } = head;
    for (let i = 0; i < head.count; i += 1) {
      const at = head.at + (isWide ? 12 : 8) * i;
      const low = view.getUint32(at + 4, true);
      this.#writer.begin(head.flag ? shapes.signedEnumerator : shapes.enumerator);
      info.u32(view.getUint32(at, true));
      if (!isWide) {
        if (head.flag) info.sleb(BigInt(low | 0));
        else info.uleb(low);
        continue;
      }
      const value = (BigInt(view.getUint32(at + 8, true)) << 32n) | BigInt(low);
      if (head.flag) info.sleb(BigInt.asIntN(64, value));
      else info.bigUleb(value);
    }
    this.#writer.end();
  }

  #prototype(head: BtfHead): void {
    const result = this.target(head.sizeOrType);
    this.#writer.begin(this.#shapes.prototype(result !== 0));
    if (result !== 0) this.#writer.reference(result);
    this.#parameters(head);
    this.#writer.end();
  }

  #parameters(head: BtfHead): void {
    const { view } = head;
    for (let i = 0; i < head.count; i += 1) {
      const name = view.getUint32(head.at + 8 * i, true);
      const declared = view.getUint32(head.at + 8 * i + 4, true);
      const type = this.target(declared);
      // the last parameter without name and type stands for `...`
      if (name === 0 && declared === 0 && i === head.count - 1)
        this.#writer.begin(this.#shapes.moreParameters);
      else {
        const isNamed = this.#btf.hasString(name);
        this.#writer.begin(this.#shapes.parameter(isNamed, type !== 0));
        if (isNamed) this.#writer.info.u32(name);
        if (type !== 0) this.#writer.reference(type);
      }
    }
  }

  #function(head: BtfHead): void {
    const prototype = this.#btf.head(head.sizeOrType);
    if (prototype?.kind !== BTF_KIND.functionPrototype) return;
    const code = this.#code(this.#btf.string(head.name));
    if (code === undefined) return;
    const result = this.target(prototype.sizeOrType);
    this.#writer.begin(this.#shapes.function(result !== 0));
    this.#writer.info.u32(head.name);
    this.#writer.info.u64(code.start);
    this.#writer.info.u32(code.size);
    if (result !== 0) this.#writer.reference(result);
    this.#parameters(prototype);
    this.#writer.end();
  }
}

/** Kinds that become an entry that others may refer to. */
const HAS_ENTRY: ReadonlySet<number> = new Set([
  BTF_KIND.int,
  BTF_KIND.float,
  BTF_KIND.pointer,
  BTF_KIND.array,
  BTF_KIND.struct,
  BTF_KIND.union,
  BTF_KIND.enum,
  BTF_KIND.enum64,
  BTF_KIND.forward,
  BTF_KIND.typedef,
  BTF_KIND.volatile,
  BTF_KIND.const,
  BTF_KIND.restrict,
  BTF_KIND.functionPrototype,
]);
