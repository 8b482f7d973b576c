import type { Rule } from "../findings/rule.js";
import { DWARF_RULES } from "./rules.js";
import { latin1, viewOf } from "../binary/layout.js";
import { FormatError } from "../findings/errors.js";

/** The bytes of one DWARF section, unpacked, with what error messages need. */
export class DwarfSection {
  /** The file it is from. */
  readonly file: string;
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly littleEndian: boolean;
  /** Where the section starts in the file; undefined when it is compressed there. */
  readonly fileOffset: number | undefined;

  constructor(
    file: string,
    name: string,
    bytes: Uint8Array,
    littleEndian: boolean,
    fileOffset: number | undefined,
  ) {
    this.file = file;
    this.name = name;
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.littleEndian = littleEndian;
    this.fileOffset = fileOffset;
  }

  get length(): number {
    return this.bytes.length;
  }

  /** An error at an offset of this section: `.debug_info+0x1f3: …`. */
  error(rule: Rule, offset: number, message: string): FormatError {
    return new FormatError(rule, message, {
      source: this.file,
      record: `${this.name}+0x${offset.toString(16)}`,
      ...(this.fileOffset === undefined ? {} : { offset: this.fileOffset + offset }),
    });
  }

  /** Whether the NUL-ended string at an offset is this one: no longer than itself, whatever is there. */
  hasStringAt(offset: number, text: Uint8Array): boolean {
    if (this.bytes[offset + text.length] !== 0) return false;
    for (let i = 0; i < text.length; i += 1) if (this.bytes[offset + i] !== text[i]) return false;
    return true;
  }

  /** The NUL-ended string at an offset. @throws FormatError `dwarf/string` beyond the section. */
  stringAt(offset: number): string {
    const nul = offset < this.length ? this.bytes.indexOf(0, offset) : -1;
    if (nul < 0) throw this.error(DWARF_RULES.string, offset, "no string that ends within the section");
    return latin1(this.bytes.subarray(offset, nul));
  }
}

/** Reading in order between two offsets of a section. All reads throw FormatError `dwarf/end` beyond the end. */
export class Cursor {
  readonly section: DwarfSection;
  pos: number;
  readonly end: number;

  constructor(section: DwarfSection, pos: number, end: number = section.length) {
    this.section = section;
    this.pos = pos;
    this.end = Math.min(end, section.length);
  }

  /** Passes over `count` bytes; returns where they started. */
  skip(count: number): number {
    const at = this.pos;
    if (!(count >= 0 && at + count <= this.end)) {
      const text = `${count} bytes needed where ${Math.max(0, this.end - at)} are left`;
      throw this.section.error(DWARF_RULES.end, at, text);
    }
    this.pos = at + count;
    return at;
  }

  u8(): number {
    return this.section.view.getUint8(this.skip(1));
  }

  u16(): number {
    return this.section.view.getUint16(this.skip(2), this.section.littleEndian);
  }

  u24(): number {
    const at = this.skip(3);
    const [a = 0, b = 0, c = 0] = this.section.bytes.subarray(at, at + 3);
    return this.section.littleEndian ? a + b * 0x100 + c * 0x10000 : a * 0x10000 + b * 0x100 + c;
  }

  u32(): number {
    return this.section.view.getUint32(this.skip(4), this.section.littleEndian);
  }

  u64big(): bigint {
    return this.section.view.getBigUint64(this.skip(8), this.section.littleEndian);
  }

  /** @throws FormatError `dwarf/overflow` at 2^53 or more. */
  u64(): number {
    const at = this.pos;
    const value = this.u64big();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.section.error(
        DWARF_RULES.overflow,
        at,
        `value 0x${value.toString(16)} is beyond any length`,
      );
    }
    return Number(value);
  }

  /** An unsigned value of 1, 2, 4 or 8 bytes. */
  unsigned(size: number): number {
    if (size === 1) return this.u8();
    if (size === 2) return this.u16();
    if (size === 4) return this.u32();
    return this.u64();
  }

  /** An offset into a section: 4 bytes, or 8 in 64-bit DWARF. */
  offset(is64: boolean): number {
    return is64 ? this.u64() : this.u32();
  }

  address(size: number): bigint {
    return size === 8 ? this.u64big() : BigInt(this.unsigned(size));
  }

  uleb(): number {
    const at = this.pos;
    const first = at < this.end ? (this.section.bytes[at] ?? 0) : 0x80;
    // nearly all take one byte
    if (first < 0x80) {
      this.pos = at + 1;
      return first;
    }
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
      if (this.pos - at > 16)
        throw this.section.error(DWARF_RULES.overflow, at, "LEB128 number without an end");
    }
    if (value > Number.MAX_SAFE_INTEGER) {
      throw this.section.error(DWARF_RULES.overflow, at, "LEB128 number beyond 2^53");
    }
    return value;
  }

  sleb(): number {
    const at = this.pos;
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) {
        if ((byte & 0x40) !== 0) value -= scale;
        break;
      }
      if (this.pos - at > 16)
        throw this.section.error(DWARF_RULES.overflow, at, "LEB128 number without an end");
    }
    return value;
  }

  string(): string {
    const nul = this.section.bytes.subarray(0, this.end).indexOf(0, this.pos);
    if (nul < 0) throw this.section.error(DWARF_RULES.string, this.pos, "string without an end");
    const text = latin1(this.section.bytes.subarray(this.pos, nul));
    this.pos = nul + 1;
    return text;
  }

  /** Length of a unit or contribution: 0xffffffff in front of eight bytes marks 64-bit DWARF (DWARF 5, 7.4). */
  initialLength(): { readonly length: number; readonly is64: boolean } {
    const at = this.pos;
    const length = this.u32();
    if (length === 0xffffffff) return { length: this.u64(), is64: true };
    if (length >= 0xfffffff0) {
      throw this.section.error(DWARF_RULES.length, at, `reserved length 0x${length.toString(16)}`);
    }
    return { length, is64: false };
  }
}
