import * as dw from "../../dwarf/constants.js";
import type { AbbreviationAttribute, DwarfWriter } from "../../dwarf/write.js";

const NAME: AbbreviationAttribute = [dw.DW_AT_name, dw.DW_FORM_strp];
const TYPE: AbbreviationAttribute = [dw.DW_AT_type, dw.DW_FORM_ref4];
const SIZE: AbbreviationAttribute = [dw.DW_AT_byte_size, dw.DW_FORM_data4];
const DECLARATION: AbbreviationAttribute = [dw.DW_AT_declaration, dw.DW_FORM_flag_present];
const PROTOTYPED: AbbreviationAttribute = [dw.DW_AT_prototyped, dw.DW_FORM_flag_present];
const EXTERNAL: AbbreviationAttribute = [dw.DW_AT_external, dw.DW_FORM_flag_present];

/** Kinds of DWARF entries that types of BTF become: codes of their abbreviations, declared when first used. */
export class DwarfShapes {
  readonly #writer: DwarfWriter;
  readonly #codes = new Map<string, number>();

  constructor(writer: DwarfWriter) {
    this.#writer = writer;
  }

  #code(tag: number, hasChildren: boolean, attributes: readonly AbbreviationAttribute[]): number {
    const key = `${tag} ${hasChildren} ${attributes.join(" ")}`;
    const known = this.#codes.get(key);
    if (known !== undefined) return known;
    const code = this.#writer.abbreviation(tag, hasChildren, attributes);
    this.#codes.set(key, code);
    return code;
  }

  /** Name, language and maker of the unit. */
  get unit(): number {
    return this.#code(dw.DW_TAG_compile_unit, true, [
      [dw.DW_AT_producer, dw.DW_FORM_strp],
      [dw.DW_AT_language, dw.DW_FORM_data1],
      NAME,
      [dw.DW_AT_comp_dir, dw.DW_FORM_strp],
    ]);
  }

  readonly #base = new Once(() =>
    this.#code(dw.DW_TAG_base_type, false, [
      NAME,
      [dw.DW_AT_byte_size, dw.DW_FORM_data1],
      [dw.DW_AT_encoding, dw.DW_FORM_data1],
    ]),
  );
  /** Name, bytes, encoding. */
  get base(): number {
    return this.#base.value;
  }

  readonly #modifiers = new Map<number, number>();
  /** Pointers, qualifiers, typedefs: name, bytes of a pointer, type. */
  modifier(tag: number, isNamed: boolean, hasType: boolean): number {
    const key = tag * 2 + (hasType ? 1 : 0);
    let code = this.#modifiers.get(key);
    if (code === undefined) {
      code = this.#code(tag, false, [
        ...(isNamed ? [NAME] : []),
        ...(tag === dw.DW_TAG_pointer_type ? [[dw.DW_AT_byte_size, dw.DW_FORM_data1] as const] : []),
        ...(hasType ? [TYPE] : []),
      ]);
      this.#modifiers.set(key, code);
    }
    return code;
  }

  readonly #array = new Once(() => this.#code(dw.DW_TAG_array_type, true, [TYPE]));
  get array(): number {
    return this.#array.value;
  }

  get arrayOfVoid(): number {
    return this.#code(dw.DW_TAG_array_type, true, []);
  }

  readonly #range = new Once(() =>
    this.#code(dw.DW_TAG_subrange_type, false, [[dw.DW_AT_upper_bound, dw.DW_FORM_data4]]),
  );
  /** The last index. */
  get range(): number {
    return this.#range.value;
  }

  get rangeWithoutEnd(): number {
    return this.#code(dw.DW_TAG_subrange_type, false, []);
  }

  get structDeclaration(): number {
    return this.#code(dw.DW_TAG_structure_type, false, [NAME, DECLARATION]);
  }

  get unionDeclaration(): number {
    return this.#code(dw.DW_TAG_union_type, false, [NAME, DECLARATION]);
  }

  get enumDeclaration(): number {
    return this.#code(dw.DW_TAG_enumeration_type, false, [NAME, DECLARATION]);
  }

  readonly #aggregates = new Map<number, number>();
  /** Structures, unions, enumerations: name, bytes; children follow. */
  aggregate(tag: number, isNamed: boolean): number {
    const key = tag * 2 + (isNamed ? 1 : 0);
    let code = this.#aggregates.get(key);
    if (code === undefined) {
      code = this.#code(tag, true, [...(isNamed ? [NAME] : []), SIZE]);
      this.#aggregates.set(key, code);
    }
    return code;
  }

  readonly #members: (number | undefined)[] = [];
  /** Name, type, then the byte offset or, of a bit-field, its bits and its first bit from the structure's start. */
  member(isNamed: boolean, isBitField: boolean): number {
    const key = (isNamed ? 1 : 0) + (isBitField ? 2 : 0);
    return (this.#members[key] ??= this.#code(dw.DW_TAG_member, false, [
      ...(isNamed ? [NAME] : []),
      TYPE,
      ...(isBitField
        ? [
            [dw.DW_AT_bit_size, dw.DW_FORM_data1] as const,
            [dw.DW_AT_data_bit_offset, dw.DW_FORM_data4] as const,
          ]
        : [[dw.DW_AT_data_member_location, dw.DW_FORM_data4] as const]),
    ]));
  }

  readonly #enumerator = new Once(() =>
    this.#code(dw.DW_TAG_enumerator, false, [NAME, [dw.DW_AT_const_value, dw.DW_FORM_udata]]),
  );
  get enumerator(): number {
    return this.#enumerator.value;
  }

  readonly #signedEnumerator = new Once(() =>
    this.#code(dw.DW_TAG_enumerator, false, [NAME, [dw.DW_AT_const_value, dw.DW_FORM_sdata]]),
  );
  get signedEnumerator(): number {
    return this.#signedEnumerator.value;
  }

  readonly #prototypes: (number | undefined)[] = [];
  /** The type of a function: its result; parameters follow. */
  prototype(hasResult: boolean): number {
    return (this.#prototypes[hasResult ? 1 : 0] ??= this.#code(dw.DW_TAG_subroutine_type, true, [
      PROTOTYPED,
      ...(hasResult ? [TYPE] : []),
    ]));
  }

  readonly #functions: (number | undefined)[] = [];
  /** A function: name, address, bytes, result; parameters follow. */
  function(hasResult: boolean): number {
    return (this.#functions[hasResult ? 1 : 0] ??= this.#code(dw.DW_TAG_subprogram, true, [
      EXTERNAL,
      PROTOTYPED,
      NAME,
      [dw.DW_AT_low_pc, dw.DW_FORM_addr],
      [dw.DW_AT_high_pc, dw.DW_FORM_data4],
      ...(hasResult ? [TYPE] : []),
    ]));
  }

  readonly #parameters: (number | undefined)[] = [];
  parameter(isNamed: boolean, hasType: boolean): number {
    const key = (isNamed ? 1 : 0) + (hasType ? 2 : 0);
    return (this.#parameters[key] ??= this.#code(dw.DW_TAG_formal_parameter, false, [
      ...(isNamed ? [NAME] : []),
      ...(hasType ? [TYPE] : []),
    ]));
  }

  /** `...` at the end of parameters. */
  get moreParameters(): number {
    return this.#code(dw.DW_TAG_unspecified_parameters, false, []);
  }

  /** A variable: name, type, address. */
  get variable(): number {
    return this.#code(dw.DW_TAG_variable, false, [
      EXTERNAL,
      NAME,
      TYPE,
      [dw.DW_AT_location, dw.DW_FORM_exprloc],
    ]);
  }
}

/** A value that is made when it is first asked for. */
class Once {
  readonly #make: () => number;
  #value: number | undefined;

  constructor(make: () => number) {
    this.#make = make;
  }

  get value(): number {
    return (this.#value ??= this.#make());
  }
}
