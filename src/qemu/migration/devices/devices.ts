import { latin1, viewOf } from "../../../binary/layout.js";
import { SECTION } from "../layout.js";
import {
  type DeviceDescription,
  type FieldDescription,
  type StructDescription,
  subsectionHead,
} from "./description.js";

/** Numbers of up to 32 bits are numbers, wider ones bigints; what has no known type stays bytes. */
export type DeviceValue = number | bigint | boolean | Uint8Array | DeviceStruct | readonly DeviceValue[];

export interface DeviceField {
  readonly name: string;
  /** As the description has it: `uint32`, `struct`, `buffer`, `pci config` … */
  readonly type: string;
  readonly value: DeviceValue;
}

export interface DeviceStruct {
  readonly name: string;
  readonly version: number;
  readonly fields: readonly DeviceField[];
  readonly subsections: readonly DeviceStruct[];
}

/** One device's saved state. */
export interface DeviceState extends DeviceStruct {
  /** Name of the section: `cpu`, `0000:00:02.0/vga`. */
  readonly section: string;
  readonly instance: number;
}

/** A device's bytes do not have the form that its description gives them. */
export class DeviceError extends Error {
  /** From the start of the device's data. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** @throws DeviceError when a subsection is not where the description puts it, or data end early. */
export function decodeDevice(data: Uint8Array, description: DeviceDescription): DeviceState {
  const struct = new DeviceDecoder(data).struct(description);
  return { section: description.section, instance: description.instance, ...struct };
}

class DeviceDecoder {
  readonly #data: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
    this.#view = viewOf(data);
  }

  #take(size: number): number {
    const at = this.#at;
    if (at + size > this.#data.length) throw new DeviceError("the data end early", at);
    this.#at += size;
    return at;
  }

  struct(description: StructDescription): DeviceStruct {
    const fields = description.fields.map((field) => this.#field(field));
    if (description.fields.length === 0 && description.subsections.length === 0 && description.size > 0) {
      const at = this.#take(description.size);
      fields.push({ name: "data", type: "buffer", value: this.#data.slice(at, at + description.size) });
    }
    const subsections = description.subsections.map((subsection) => {
      const at = this.#take(subsectionHead(subsection.name));
      const name = latin1(this.#data.subarray(at + 2, at + 2 + subsection.name.length));
      if (this.#data[at] !== SECTION.subsection || name !== subsection.name)
        throw new DeviceError(`subsection '${subsection.name}' is not there`, at);
      return this.struct(subsection);
    });
    return { name: description.name, version: description.version, fields, subsections };
  }

  #field(field: FieldDescription): DeviceField {
    const name = field.index === undefined ? field.name : `${field.name}[${field.index}]`;
    const { type, size, count } = field;
    if (count === undefined) return { name, type, value: this.#value(field) };
    if (this.#at + size * count > this.#data.length)
      throw new DeviceError(`${field.name} has ${count} elements, more than there are bytes`, this.#at);
    // elements without bytes say nothing, however many there are
    const elements = size === 0 ? 0 : count;
    return { name, type, value: Array.from({ length: elements }, () => this.#value(field)) };
  }

  #value({ type, size, struct }: FieldDescription): DeviceValue {
    if (struct !== undefined) {
      const end = this.#at + size;
      const value = this.struct(struct);
      if (this.#at > end) throw new DeviceError(`${struct.name} is longer than its size says`, this.#at);
      this.#take(end - this.#at);
      return value;
    }
    const at = this.#take(size);
    return scalar(this.#view, this.#data, at, size, type);
  }
}

const SIGNED = /^int(8|16|32|64)\b/;
const UNSIGNED = /^(uint(8|16|32|64)\b|timer$|cpsr$|float64$)/;

function scalar(view: DataView, data: Uint8Array, at: number, size: number, type: string): DeviceValue {
  if (type === "bool" && size === 1) return view.getUint8(at) !== 0;
  const signed = SIGNED.test(type);
  if (signed || UNSIGNED.test(type)) {
    if (size === 1) return signed ? view.getInt8(at) : view.getUint8(at);
    if (size === 2) return signed ? view.getInt16(at) : view.getUint16(at);
    if (size === 4) return signed ? view.getInt32(at) : view.getUint32(at);
    if (size === 8) return signed ? view.getBigInt64(at) : view.getBigUint64(at);
  }
  return data.slice(at, at + size);
}

/** A field of a structure, by its name as described. */
export function fieldOf(struct: DeviceStruct, name: string): DeviceValue | undefined {
  return struct.fields.find((field) => field.name === name)?.value;
}

/** A field at any depth, first found first. */
export function findField(
  struct: DeviceStruct,
  matches: (field: DeviceField) => boolean,
): DeviceField | undefined {
  for (const field of struct.fields) {
    if (matches(field)) return field;
    for (const value of Array.isArray(field.value)
      ? (field.value as readonly DeviceValue[])
      : [field.value]) {
      const found = isStruct(value) ? findField(value, matches) : undefined;
      if (found !== undefined) return found;
    }
  }
  for (const subsection of struct.subsections) {
    const found = findField(subsection, matches);
    if (found !== undefined) return found;
  }
  return undefined;
}

export function isStruct(value: DeviceValue | undefined): value is DeviceStruct {
  return typeof value === "object" && "fields" in value;
}

/** A whole number below 2^53, or undefined. */
export function numberOf(value: DeviceValue | undefined): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "bigint" && value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER))
    return Number(value);
  return undefined;
}

export function bytesOf(value: DeviceValue | undefined): Uint8Array | undefined {
  return value instanceof Uint8Array ? value : undefined;
}

/** Elements of an array; none for what is no array. */
export function listOf(value: DeviceValue | undefined): readonly DeviceValue[] {
  return Array.isArray(value) ? (value as readonly DeviceValue[]) : [];
}

/** A register's content: unsigned, whatever width it was saved in. */
export function bigOf(value: DeviceValue | undefined): bigint | undefined {
  if (typeof value === "bigint") return BigInt.asUintN(64, value);
  return typeof value === "number" ? BigInt(value >>> 0) : undefined;
}
