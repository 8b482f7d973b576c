import * as dw from "./constants.js";
import { WriteBuffer } from "./write-buffer.js";

/** An attribute and its form. */
export type AbbreviationAttribute = readonly [attribute: number, form: number];

/** The sections of one compilation unit. */
export interface WrittenDwarf {
  /** `.debug_info` */
  readonly info: Uint8Array;
  /** `.debug_abbrev` */
  readonly abbrev: Uint8Array;
  /** `.debug_str` */
  readonly str: Uint8Array;
}

/** Offset of the unit's length, which is set at the end, and bytes of that field. */
const LENGTH_AT = 0;
const LENGTH_SIZE = 4;
const VERSION = 4;
const ADDRESS_SIZE = 8;

/**
 * Writes one compilation unit of DWARF 4, little endian, 32-bit format, addresses of 8 bytes. Declare abbreviations,
 * call `begin` for each entry and write its attributes in the declared order to `info`; an entry with children is ended by
 * `end`. The same calls give the same bytes.
 */
export class DwarfWriter {
  /** `.debug_info`, where attributes are written to. */
  readonly info = new WriteBuffer(1 << 16);
  readonly #abbrev = new WriteBuffer();
  readonly #strings: WriteBuffer;
  readonly #offsets = new Map<string, number>();
  readonly #encoder = new TextEncoder();
  #codes = 0;
  /** Places of references, and numbers of what they refer to. */
  readonly #references: number[] = [];
  readonly #targets: number[] = [];

  /** @param strings what `.debug_str` begins with: offsets into it may be written as strings are. */
  constructor(strings: Uint8Array = Uint8Array.of(0)) {
    this.#strings = new WriteBuffer(strings.length + 1024);
    this.#strings.raw(strings);
    this.info.u32(0);
    this.info.u16(VERSION);
    this.info.u32(0);
    this.info.u8(ADDRESS_SIZE);
  }

  /** Declares a kind of entry; returns its code. */
  abbreviation(tag: number, hasChildren: boolean, attributes: readonly AbbreviationAttribute[]): number {
    this.#codes += 1;
    this.#abbrev.uleb(this.#codes);
    this.#abbrev.uleb(tag);
    this.#abbrev.u8(hasChildren ? 1 : 0);
    for (const [attribute, form] of attributes) {
      this.#abbrev.uleb(attribute);
      this.#abbrev.uleb(form);
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

  /** A reference (DW_FORM_ref4) to an entry that is known by a number until `finish`. */
  reference(target: number): void {
    this.#references.push(this.info.length);
    this.#targets.push(target);
    this.info.u32(0);
  }

  /** An address as a location expression (DW_FORM_exprloc). */
  addressExpression(address: bigint): void {
    this.info.uleb(1 + ADDRESS_SIZE);
    this.info.u8(dw.DW_OP_addr);
    this.info.u64(address);
  }

  /**
   * Ends the unit.
   *
   * @param offsetOf offset in the unit of the entry that a number of `reference` stands for.
   */
  finish(offsetOf: (target: number) => number): WrittenDwarf {
    for (const [i, at] of this.#references.entries()) this.info.setU32(at, offsetOf(this.#targets[i] ?? 0));
    this.info.setU32(LENGTH_AT, this.info.length - LENGTH_SIZE);
    this.#abbrev.u8(0);
    return { info: this.info.bytes(), abbrev: this.#abbrev.bytes(), str: this.#strings.bytes() };
  }
}
