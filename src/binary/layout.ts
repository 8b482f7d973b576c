import { trimNuls } from "./text.js";
import { BINARY_RULES } from "./rules.js";
import { FormatError } from "../findings/errors.js";

/** Byte order of a field or of a whole structure. */
export type ByteOrder = "little" | "big";

/** One member of a fixed layout: how many bytes it takes, how it is read and written. */
export interface Field<T> {
  readonly size: number;
  /** As documentation prints it: `u32`, `u64 big endian`, `bytes[32]`. */
  readonly type: string;
  /** What the field means, in a few words. */
  readonly meaning: string;
  read(view: DataView, at: number, littleEndian: boolean): T;
  write(view: DataView, at: number, value: T, littleEndian: boolean): void;
}

// biome-ignore lint: the bound must accept a field of any type
type Fields = Record<
  string,
  | Field<never>
  | Field<number>
  | Field<bigint>
  | Field<Uint8Array>
  | Field<string>
  | Field<readonly number[]>
  | Field<readonly bigint[]>
>;
/** The value that a field reads. */
export type FieldValue<F> = F extends Field<infer T> ? T : never;
/** The record a layout reads: one property a field. */
export type Decoded<F> = { -readonly [K in keyof F]: FieldValue<F[K]> };

/** A field of a structure as documentation shows it; offset and size in bytes. */
export interface FieldPlace {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  readonly meaning: string;
}

/** A structure as documentation shows it. */
export interface DescribedLayout {
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** Specification and section that define it. */
  readonly spec: string;
  readonly fields: readonly FieldPlace[];
}

/** The structures of one format or layer, by the name that `formats` finds them by. */
export interface LayoutSection {
  readonly name: string;
  readonly layouts: readonly DescribedLayout[];
}

/** A structure of fixed layout: the one place that knows its offsets. */
export interface Layout<F> extends DescribedLayout {
  /** Offset of one field. */
  offsetOf(field: keyof F): number;
  read(view: DataView, at: number, order: ByteOrder): Decoded<F>;
  write(view: DataView, at: number, value: Decoded<F>, order: ByteOrder): void;
  encode(value: Decoded<F>, order: ByteOrder): Uint8Array;
  decode(bytes: Uint8Array, order: ByteOrder): Decoded<F>;
}

/** The record a given layout reads. */
export type RecordOf<L> = L extends Layout<infer F> ? Decoded<F> : never;

/** Declares a structure; fields follow one another without padding, in the order given. */
export function layout<F extends Fields>(name: string, spec: string, fields: F): Layout<F> {
  const places: FieldPlace[] = [];
  const offsets = new Map<keyof F, number>();
  let size = 0;
  for (const [key, field] of Object.entries(fields)) {
    places.push({ name: key, offset: size, size: field.size, type: field.type, meaning: field.meaning });
    offsets.set(key, size);
    size += field.size;
  }
  const entries = Object.entries(fields) as [keyof F & string, Field<unknown>][];
  const read = (view: DataView, at: number, order: ByteOrder): Decoded<F> => {
    const little = order === "little";
    const record: Record<string, unknown> = {};
    let offset = at;
    for (const [key, field] of entries) {
      record[key] = field.read(view, offset, little);
      offset += field.size;
    }
    return record as Decoded<F>;
  };
  const write = (view: DataView, at: number, value: Decoded<F>, order: ByteOrder): void => {
    const little = order === "little";
    let offset = at;
    for (const [key, field] of entries) {
      field.write(view, offset, value[key], little);
      offset += field.size;
    }
  };
  return {
    name,
    size,
    spec,
    fields: places,
    offsetOf: (field) => offsets.get(field) ?? 0,
    read,
    write,
    encode(value, order) {
      const bytes = new Uint8Array(size);
      write(viewOf(bytes), 0, value, order);
      return bytes;
    },
    decode: (bytes, order) => read(viewOf(bytes), 0, order),
  };
}

/** A DataView over exactly the bytes of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const TWO_32 = 0x1_0000_0000;

/** An unsigned 64-bit value as a number, rounded from 2^53 on: of bytes that may be damaged, nothing is believed yet. */
export function roughU64(view: DataView, at: number, littleEndian: boolean): number {
  const low = view.getUint32(littleEndian ? at : at + 4, littleEndian);
  return view.getUint32(littleEndian ? at + 4 : at, littleEndian) * TWO_32 + low;
}

/** An unsigned 64-bit value as a number. @throws FormatError `binary/overflow` at 2^53 or more. */
export function readU64(view: DataView, at: number, littleEndian: boolean): number {
  const low = view.getUint32(littleEndian ? at : at + 4, littleEndian);
  const high = view.getUint32(littleEndian ? at + 4 : at, littleEndian);
  if (high >= 0x20_0000) {
    const value = view.getBigUint64(at, littleEndian);
    throw new FormatError(
      BINARY_RULES.overflow,
      `value 0x${value.toString(16)} is beyond any address or length`,
    );
  }
  return high * TWO_32 + low;
}

/** Writes an unsigned 64-bit value below 2^53. */
export function writeU64(view: DataView, at: number, value: number, littleEndian: boolean): void {
  view.setUint32(littleEndian ? at : at + 4, value % TWO_32, littleEndian);
  view.setUint32(littleEndian ? at + 4 : at, Math.floor(value / TWO_32), littleEndian);
}

/** One byte. */
export const u8 = (meaning: string): Field<number> => ({
  size: 1,
  type: "u8",
  meaning,
  read: (view, at) => view.getUint8(at),
  write: (view, at, value) => view.setUint8(at, value),
});

/** An unsigned 16-bit number. */
export const u16 = (meaning: string): Field<number> => ({
  size: 2,
  type: "u16",
  meaning,
  read: (view, at, little) => view.getUint16(at, little),
  write: (view, at, value, little) => view.setUint16(at, value, little),
});

/** An unsigned 32-bit number. */
export const u32 = (meaning: string): Field<number> => ({
  size: 4,
  type: "u32",
  meaning,
  read: (view, at, little) => view.getUint32(at, little),
  write: (view, at, value, little) => view.setUint32(at, value, little),
});

/** A signed 32-bit number. */
export const i32 = (meaning: string): Field<number> => ({
  size: 4,
  type: "i32",
  meaning,
  read: (view, at, little) => view.getInt32(at, little),
  write: (view, at, value, little) => view.setInt32(at, value, little),
});

/** An address, offset or length: a number, refused at 2^53 or more. */
export const u64 = (meaning: string): Field<number> => ({
  size: 8,
  type: "u64",
  meaning,
  read: readU64,
  write: writeU64,
});

/** A register, mask or other value that uses all 64 bits. */
export const u64big = (meaning: string): Field<bigint> => ({
  size: 8,
  type: "u64",
  meaning,
  read: (view, at, little) => view.getBigUint64(at, little),
  write: (view, at, value, little) => view.setBigUint64(at, BigInt.asUintN(64, value), little),
});

/** `size` bytes, copied out. */
export const bytes = (size: number, meaning: string): Field<Uint8Array> => ({
  size,
  type: `bytes[${size}]`,
  meaning,
  read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
  write: (view, at, value) =>
    new Uint8Array(view.buffer, view.byteOffset + at, size).set(value.subarray(0, size)),
});

/** Text of `size` bytes, one character a byte; NULs at the end are cut off on reading. */
export const text = (size: number, meaning: string): Field<string> => ({
  size,
  type: `text[${size}]`,
  meaning,
  read: (view, at) => trimNuls(latin1(new Uint8Array(view.buffer, view.byteOffset + at, size))),
  write: (view, at, value) => {
    for (let i = 0; i < size; i += 1) view.setUint8(at + i, value.charCodeAt(i) || 0);
  },
});

/** `count` equal fields in a row. */
export const array = <T>(element: Field<T>, count: number, meaning: string): Field<readonly T[]> => ({
  size: element.size * count,
  type: `${element.type}[${count}]`,
  meaning,
  read: (view, at, little) =>
    Array.from({ length: count }, (_, i) => element.read(view, at + i * element.size, little)),
  write: (view, at, values, little) => {
    for (const [i, value] of values.entries()) element.write(view, at + i * element.size, value, little);
  },
});

/** The same field in a byte order of its own, whatever the structure's. */
export const inOrder = <T>(order: ByteOrder, field: Field<T>): Field<T> => ({
  ...field,
  type: `${field.type} ${order} endian`,
  read: (view, at) => field.read(view, at, order === "little"),
  write: (view, at, value) => field.write(view, at, value, order === "little"),
});

/** Bytes as text, one character each. */
export function latin1(bytes: Uint8Array): string {
  let out = "";
  for (let i = 0; i < bytes.length; i += 8192) out += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return out;
}

/** Text of characters below 0x100 as bytes. */
export function latin1Bytes(value: string): Uint8Array {
  return Uint8Array.from(value, (c) => c.charCodeAt(0));
}

/** Every structure that a module of declarations exports, by name. */
export function layoutSection(name: string, ...modules: readonly object[]): LayoutSection {
  const layouts = modules.flatMap((module) =>
    // by name: a module's own order is the loader's affair
    Object.values(module)
      .filter(isLayout)
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
  return { name, layouts };
}

function isLayout(value: unknown): value is DescribedLayout {
  return typeof value === "object" && value !== null && "fields" in value && "spec" in value;
}
