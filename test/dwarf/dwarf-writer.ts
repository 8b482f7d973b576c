import type { ByteOrder } from "../../src/binary/layout.js";
import * as dw from "../../src/dwarf/constants.js";

/** Bytes in the making, with labels that may be referred to before they are set. */
export class Assembler {
  readonly order: ByteOrder;
  readonly #bytes: number[] = [];
  readonly labels = new Map<string, number>();
  readonly #fixups: { at: number; size: number; label: string; base: number }[] = [];

  constructor(order: ByteOrder) {
    this.order = order;
  }

  get length(): number {
    return this.#bytes.length;
  }

  label(name: string): void {
    this.labels.set(name, this.length);
  }

  unsigned(value: number | bigint, size: number): void {
    const bytes = Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
    this.#bytes.push(...(this.order === "little" ? bytes : bytes.toReversed()));
  }

  uleb(value: number): void {
    let rest = value;
    do {
      const low = rest % 128;
      rest = Math.floor(rest / 128);
      this.#bytes.push(rest > 0 ? low | 0x80 : low);
    } while (rest > 0);
  }

  sleb(value: number): void {
    let rest = value;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      const done = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
      this.#bytes.push(done ? low : low | 0x80);
      if (done) return;
    }
  }

  string(text: string): void {
    this.#bytes.push(...new TextEncoder().encode(`${text}\0`));
  }

  bytes(bytes: Iterable<number>): void {
    this.#bytes.push(...bytes);
  }

  /** A value that becomes the distance from `base` to a label. */
  reference(label: string, size: number, base = 0): void {
    this.#fixups.push({ at: this.length, size, label, base });
    this.unsigned(0, size);
  }

  set(at: number, value: number, size: number): void {
    const part = new Assembler(this.order);
    part.unsigned(value, size);
    this.#bytes.splice(at, size, ...part.finish());
  }

  finish(): Uint8Array {
    for (const { at, size, label, base } of this.#fixups.splice(0)) {
      const target = this.labels.get(label);
      if (target === undefined) throw new Error(`no label ${label}`);
      this.set(at, target - base, size);
    }
    return Uint8Array.from(this.#bytes);
  }
}

/** An attribute: which, how it is written, and its value (a label for references, bytes for blocks). */
export type AttributeDescription = readonly [
  attribute: number,
  form: number,
  value: number | bigint | string | readonly number[],
];

export interface DieDescription {
  readonly tag: number;
  readonly label?: string;
  readonly attributes: readonly AttributeDescription[];
  readonly children?: readonly DieDescription[];
}

export interface UnitDescription {
  readonly version?: number;
  readonly is64?: boolean;
  readonly addressSize?: number;
  /** DW_UT_…; type units take `signature` and the label of their type. */
  readonly type?: number;
  readonly signature?: bigint;
  readonly typeLabel?: string;
  readonly root: DieDescription;
}

export interface DwarfSections {
  readonly info: Uint8Array;
  readonly types: Uint8Array;
  readonly abbrev: Uint8Array;
  readonly str: Uint8Array;
  /** Section offset of every labelled entry. */
  readonly labels: ReadonlyMap<string, number>;
}

const LEB: ReadonlySet<number> = new Set([
  dw.DW_FORM_udata,
  dw.DW_FORM_ref_udata,
  dw.DW_FORM_strx,
  dw.DW_FORM_addrx,
  dw.DW_FORM_loclistx,
  dw.DW_FORM_rnglistx,
  dw.DW_FORM_GNU_addr_index,
  dw.DW_FORM_GNU_str_index,
]);

/** Writes units described by values; version 4 type units go to `.debug_types`. */
export function buildDwarf(units: readonly UnitDescription[], order: ByteOrder): DwarfSections {
  const [info, types, abbrev, str] = [0, 1, 2, 3].map(() => new Assembler(order)) as [
    Assembler,
    Assembler,
    Assembler,
    Assembler,
  ];
  const strings = new Map<string, number>();
  str.string("");
  const stringOffset = (text: string): number => {
    const known = strings.get(text) ?? str.length;
    if (!strings.has(text)) str.string(text);
    strings.set(text, known);
    return known;
  };
  for (const unit of units) {
    const isType = unit.type === dw.DW_UT_type;
    const out = isType && (unit.version ?? 5) < 5 ? types : info;
    writeUnit(unit, out, abbrev, stringOffset);
  }
  return {
    info: info.finish(),
    types: types.finish(),
    abbrev: abbrev.finish(),
    str: str.finish(),
    labels: info.labels,
  };
}

function writeUnit(
  unit: UnitDescription,
  out: Assembler,
  abbrev: Assembler,
  stringOffset: (text: string) => number,
): void {
  const { version = 5, is64 = false, addressSize = 8, type = dw.DW_UT_compile } = unit;
  const word = is64 ? 8 : 4;
  const start = out.length;
  if (is64) out.unsigned(0xffffffff, 4);
  const lengthAt = out.length;
  out.unsigned(0, word);
  const bodyAt = out.length;
  out.unsigned(version, 2);
  if (version >= 5) out.unsigned(type, 1);
  if (version >= 5) out.unsigned(addressSize, 1);
  out.unsigned(abbrev.length, word);
  if (version < 5) out.unsigned(addressSize, 1);
  if (type === dw.DW_UT_type) {
    out.unsigned(unit.signature ?? 0n, 8);
    out.reference(unit.typeLabel ?? "", word, start);
  }
  const codes = new Map<string, number>();
  const write = (die: DieDescription): void => {
    const hasChildren = die.children !== undefined;
    const kinds = die.attributes.map(([attribute, form, value]) => [
      attribute,
      form,
      form === dw.DW_FORM_implicit_const ? value : 0,
    ]);
    const key = JSON.stringify([die.tag, hasChildren, kinds]);
    let code = codes.get(key);
    if (code === undefined) {
      code = codes.size + 1;
      codes.set(key, code);
      abbrev.uleb(code);
      abbrev.uleb(die.tag);
      abbrev.unsigned(hasChildren ? 1 : 0, 1);
      for (const [attribute, form, value] of die.attributes) {
        abbrev.uleb(attribute);
        abbrev.uleb(form);
        if (form === dw.DW_FORM_implicit_const) abbrev.sleb(Number(value));
      }
      abbrev.uleb(0);
      abbrev.uleb(0);
    }
    if (die.label !== undefined) out.label(die.label);
    out.uleb(code);
    for (const [, form, value] of die.attributes) writeValue(form, value);
    if (die.children === undefined) return;
    for (const child of die.children) write(child);
    out.uleb(0);
  };
  const writeValue = (form: number, value: AttributeDescription[2]): void => {
    const sizes = new Map([
      [dw.DW_FORM_data1, 1],
      [dw.DW_FORM_data2, 2],
      [dw.DW_FORM_data4, 4],
      [dw.DW_FORM_data8, 8],
      [dw.DW_FORM_ref_sig8, 8],
      [dw.DW_FORM_flag, 1],
      [dw.DW_FORM_addr, addressSize],
      [dw.DW_FORM_sec_offset, word],
      [dw.DW_FORM_data16, 16],
      [dw.DW_FORM_strx1, 1],
      [dw.DW_FORM_strx2, 2],
      [dw.DW_FORM_strx3, 3],
      [dw.DW_FORM_strx4, 4],
      [dw.DW_FORM_addrx1, 1],
      [dw.DW_FORM_addrx2, 2],
      [dw.DW_FORM_addrx3, 3],
      [dw.DW_FORM_addrx4, 4],
      [dw.DW_FORM_ref_sup4, 4],
      [dw.DW_FORM_ref_sup8, 8],
      [dw.DW_FORM_line_strp, word],
      [dw.DW_FORM_strp_sup, word],
      [dw.DW_FORM_GNU_ref_alt, word],
      [dw.DW_FORM_GNU_strp_alt, word],
    ]);
    const references = new Map([
      [dw.DW_FORM_ref1, 1],
      [dw.DW_FORM_ref2, 2],
      [dw.DW_FORM_ref4, 4],
      [dw.DW_FORM_ref8, 8],
    ]);
    const size = sizes.get(form);
    const reference = references.get(form);
    if (form === dw.DW_FORM_implicit_const || form === dw.DW_FORM_flag_present) return;
    if (form === dw.DW_FORM_string) out.string(String(value));
    else if (form === dw.DW_FORM_strp) out.unsigned(stringOffset(String(value)), word);
    else if (form === dw.DW_FORM_ref_addr) out.reference(String(value), version <= 2 ? addressSize : word);
    else if (reference !== undefined) out.reference(String(value), reference, start);
    else if (LEB.has(form)) out.uleb(Number(value));
    else if (form === dw.DW_FORM_sdata) out.sleb(Number(value));
    else if (form === dw.DW_FORM_indirect) {
      out.uleb(dw.DW_FORM_udata);
      out.uleb(Number(value));
    } else if (Array.isArray(value)) {
      if (form === dw.DW_FORM_block1) out.unsigned(value.length, 1);
      else if (form === dw.DW_FORM_block2) out.unsigned(value.length, 2);
      else if (form === dw.DW_FORM_block4) out.unsigned(value.length, 4);
      else out.uleb(value.length);
      out.bytes(value as number[]);
    } else if (size !== undefined) out.unsigned(value as number, size);
    else throw new Error(`form ${form}`);
  };
  write(unit.root);
  abbrev.uleb(0);
  out.set(lengthAt, out.length - bodyAt, word);
}
