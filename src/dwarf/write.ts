import { type ByteOrder, viewOf } from "../binary/layout.js";
import * as dw from "./constants.js";
import { WriteBuffer } from "./write-buffer.js";

/** An attribute, its form, and its value where the form is DW_FORM_implicit_const. */
export type AbbreviationAttribute = readonly [attribute: number, form: number, constant?: number];

/** The sections that were written. */
export interface WrittenDwarf {
  /** `.debug_info` */
  readonly info: Uint8Array;
  /** `.debug_types`: type units before version 5; empty when there are none. */
  readonly types: Uint8Array;
  /** `.debug_abbrev` */
  readonly abbrev: Uint8Array;
  /** `.debug_str` */
  readonly str: Uint8Array;
}

/** What a unit's header says (DWARF 5, section 7.5.1). */
export interface UnitShape {
  /** 2 to 5; default 4. */
  readonly version?: number;
  /** The 64-bit format; default the 32-bit one. */
  readonly is64?: boolean;
  /** Bytes of an address; default 8. */
  readonly addressSize?: number;
  /** Of a type unit: its signature, and the number of its type's entry. */
  readonly type?: { readonly signature: bigint; readonly target: number };
}

/** A section of units, and its references: place, bytes, number of the entry, what the offset counts from, 4 bytes each. */
interface UnitSection {
  readonly buffer: WriteBuffer;
  readonly references: WriteBuffer;
}

const REFERENCE = 16;

const ADDRESS_SIZE = 8;
const ESCAPE_64 = 0xffff_ffff;

/**
 * Writes units of DWARF 2 to 5. For each unit call `unit`, declare abbreviations, call `begin` for each entry and write
 * its attributes in the declared order to `info`; an entry with children is ended by `end`, a unit by `endUnit`. The
 * same calls give the same bytes.
 */
export class DwarfWriter {
  readonly #info: UnitSection;
  readonly #types: UnitSection;
  #section: UnitSection;
  readonly #abbrev: WriteBuffer;
  readonly #strings: WriteBuffer;
  readonly #offsets = new Map<string, number>();
  readonly #encoder = new TextEncoder();
  #codes = 0;
  /** Of the unit that is written: where it and the field of its length begin, and bytes of an offset. */
  #start = 0;
  #lengthAt = 0;
  #word = 4;

  /** @param strings what `.debug_str` begins with: offsets into it may be written as strings are. */
  constructor(strings: Uint8Array = Uint8Array.of(0), order: ByteOrder = "little") {
    this.#info = { buffer: new WriteBuffer(1 << 16, order), references: new WriteBuffer() };
    this.#types = { buffer: new WriteBuffer(0, order), references: new WriteBuffer(0) };
    this.#section = this.#info;
    this.#abbrev = new WriteBuffer(1 << 12, order);
    this.#strings = new WriteBuffer(strings.length + 1024, order);
    this.#strings.raw(strings);
  }

  /** Where the attributes of the unit that is written go. */
  get info(): WriteBuffer {
    return this.#section.buffer;
  }

  /** Begins a unit. */
  unit({ version = 4, is64 = false, addressSize = ADDRESS_SIZE, type }: UnitShape = {}): void {
    this.#section = type !== undefined && version < 5 ? this.#types : this.#info;
    this.#word = is64 ? 8 : 4;
    this.#codes = 0;
    const { info } = this;
    this.#start = info.length;
    if (is64) info.u32(ESCAPE_64);
    this.#lengthAt = info.length;
    info.unsigned(0, this.#word);
    info.u16(version);
    if (version >= 5) {
      info.u8(type === undefined ? dw.DW_UT_compile : dw.DW_UT_type);
      info.u8(addressSize);
    }
    info.unsigned(this.#abbrev.length, this.#word);
    if (version < 5) info.u8(addressSize);
    if (type === undefined) return;
    info.u64(type.signature);
    this.reference(type.target, this.#word);
  }

  /** Ends a unit: its length and its abbreviations are known. */
  endUnit(): void {
    this.info.set(this.#lengthAt, this.info.length - this.#lengthAt - this.#word, this.#word);
    this.#abbrev.u8(0);
  }

  /** Declares a kind of entry of this unit; returns its code. */
  abbreviation(tag: number, hasChildren: boolean, attributes: readonly AbbreviationAttribute[]): number {
    this.#codes += 1;
    this.#abbrev.uleb(this.#codes);
    this.#abbrev.uleb(tag);
    this.#abbrev.u8(hasChildren ? 1 : 0);
    for (const [attribute, form, constant] of attributes) {
      this.#abbrev.uleb(attribute);
      this.#abbrev.uleb(form);
      if (constant !== undefined) this.#abbrev.sleb(BigInt(constant));
    }
    this.#abbrev.u16(0);
    return this.#codes;
  }

  /** Begins an entry; returns its offset in the unit. */
  begin(code: number): number {
    const at = this.info.length;
    this.info.uleb(code);
    return at;
  }

  /** Ends the children of an entry. */
  end(): void {
    this.info.u8(0);
  }

  /** Offset of a text in `.debug_str`, for DW_FORM_strp. */
  string(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const at = this.#strings.length;
    this.#strings.raw(this.#encoder.encode(text));
    this.#strings.u8(0);
    this.#offsets.set(text, at);
    return at;
  }

  /**
   * A reference to an entry that is known by a number until `finish`: `size` bytes that count from the unit (DW_FORM_ref4
   * and its like), or from the section (DW_FORM_ref_addr).
   */
  reference(target: number, size = 4, base: "unit" | "section" = "unit"): void {
    const { references } = this.#section;
    references.u32(this.info.length);
    references.u32(size);
    references.u32(target);
    references.u32(base === "unit" ? this.#start : 0);
    this.info.unsigned(0, size);
  }

  /** An address as a location expression (DW_FORM_exprloc). */
  addressExpression(address: bigint): void {
    this.info.uleb(1 + ADDRESS_SIZE);
    this.info.u8(dw.DW_OP_addr);
    this.info.u64(address);
  }

  /**
   * Ends all.
   *
   * @param offsetOf offset in its section of the entry that a number of `reference` stands for.
   */
  finish(offsetOf: (target: number) => number): WrittenDwarf {
    for (const { buffer, references } of [this.#info, this.#types]) {
      const fields = viewOf(references.bytes());
      for (let i = 0; i < fields.byteLength; i += REFERENCE) {
        const offset = offsetOf(fields.getUint32(i + 8, true)) - fields.getUint32(i + 12, true);
        buffer.set(fields.getUint32(i, true), offset, fields.getUint32(i + 4, true));
      }
    }
    return {
      info: this.#info.buffer.bytes(),
      types: this.#types.buffer.bytes(),
      abbrev: this.#abbrev.bytes(),
      str: this.#strings.bytes(),
    };
  }
}
