import { QEMU_CORE_RULES } from "./rules.js";
import { type ByteOrder, latin1, readU64, viewOf } from "../../binary/layout.js";
import type { DebugInfo, Variable } from "../../dwarf/info.js";
import type { Field, Type } from "../../dwarf/type.js";
import type { ProcessMemory } from "../../elf/process-memory.js";
import { STB_LOCAL, STT_OBJECT } from "../../elf/layout.js";
import type { SymbolTable } from "../../elf/symbols.js";
import { AbsentError, FormatError } from "../../findings/errors.js";
import type { Rule } from "../../findings/rule.js";

/** No structure read here comes near; a larger one is damaged debug info. */
const LARGEST = 1 << 20;
const LONGEST_TEXT = 4096;
const ZERO = 0n;

/** A program's variables in a process: debug information, where it was loaded, and the memory. */
export class Program {
  readonly memory: ProcessMemory;
  readonly info: DebugInfo;
  readonly order: ByteOrder;
  readonly #bias: number;
  readonly #symbols: SymbolTable | undefined;

  /**
   * @param bias Run-time minus link-time addresses.
   * @param symbols All of the program's symbols, where it has them: what is not among them need not be searched for.
   */
  constructor(memory: ProcessMemory, info: DebugInfo, bias: number, order: ByteOrder, symbols?: SymbolTable) {
    this.memory = memory;
    this.#symbols = symbols;
    this.info = info;
    this.order = order;
    this.#bias = bias;
  }

  /** A variable by the first of several names that the program has; undefined when it has none of them. */
  async variable(...names: readonly string[]): Promise<Value | undefined> {
    for (const name of names) {
      const found = this.#locate(name);
      if (found !== undefined) return this.read(found.type, Number(found.address) + this.#bias, name);
    }
    return undefined;
  }

  #locate(name: string): Pick<Variable, "address" | "type"> | undefined {
    if (this.#symbols === undefined || name.includes("::")) return this.info.variable(name);
    const symbol = this.#symbols.find(name);
    if (symbol === undefined) return undefined;
    // one of a thread has no address of its own
    const isGlobal = symbol.type === STT_OBJECT && symbol.binding !== STB_LOCAL;
    const type = isGlobal ? this.info.externalType(name) : undefined;
    // a declaration may say less than the definition: an array of unknown length
    return type?.size === symbol.size ? { address: symbol.address, type } : this.info.variable(name);
  }

  /** A type by the first of several names: typedefs and structures. */
  type(...names: readonly string[]): Type | undefined {
    for (const name of names) {
      const found = this.info.type("typedef", name) ?? this.info.type("structure", name);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Reads an object. @throws AbsentError `qemu/core/unreadable`. */
  async read(type: Type, address: number, what: string): Promise<Value> {
    const size = type.size ?? 0;
    return new Value(this, type, address, await this.bytes(address, size, what), what);
  }

  /** @throws AbsentError `qemu/core/unreadable` when not all of them can be read. */
  async bytes(address: number, size: number, what: string): Promise<Uint8Array> {
    if (size > LARGEST) throw this.error(QEMU_CORE_RULES.size, `${what} of ${size} bytes`);
    const bytes = new Uint8Array(size);
    const result = this.memory.read(address, bytes);
    const n = result instanceof Promise ? await result : result;
    if (n === size) return bytes;
    const [piece] = this.memory.pieces(address + n, address + n + 1);
    const why =
      piece?.presence === "truncated" ? "the core is cut short before it" : "no memory is saved there";
    throw new AbsentError(
      QEMU_CORE_RULES.unreadable,
      `can't read ${what} (${size} bytes at 0x${address.toString(16)}): ${why}`,
      { source: this.memory.name },
    );
  }

  /** NUL-ended text at an address; undefined where it can't be read (literals are not in a core). */
  async text(address: number): Promise<string | undefined> {
    if (address === 0) return undefined;
    const bytes = new Uint8Array(LONGEST_TEXT);
    const n = await this.memory.read(address, bytes);
    const end = bytes.subarray(0, n).indexOf(0);
    return end === -1 ? undefined : latin1(bytes.subarray(0, end));
  }

  /** The error of something in memory that can't be. */
  error(rule: Rule, message: string): FormatError {
    return new FormatError(rule, message, { source: this.memory.name });
  }
}

/** An object in the process: its type and its bytes. Fields are found by name, never by a known offset. */
export class Value {
  readonly type: Type;
  readonly address: number;
  /** How the object was reached, for messages. */
  readonly what: string;
  readonly #program: Program;
  readonly #bytes: Uint8Array;

  constructor(program: Program, type: Type, address: number, bytes: Uint8Array, what: string) {
    this.#program = program;
    this.type = type;
    this.address = address;
    this.#bytes = bytes;
    this.what = what;
  }

  has(path: string): boolean {
    return this.type.field(path) !== undefined;
  }

  /** The field with the first of several names that this build of the program has. */
  any(...paths: readonly string[]): string | undefined {
    return paths.find((path) => this.has(path));
  }

  #field(path: string): Field {
    const field = this.type.field(path);
    if (field !== undefined && field.offset + field.size <= this.#bytes.length) return field;
    throw this.#program.error(
      QEMU_CORE_RULES.field,
      `${String(this.type)} has no field ${path} in this program`,
    );
  }

  #view(field: Field): DataView {
    return viewOf(this.#bytes.subarray(field.offset, field.offset + field.size));
  }

  /** An unsigned number of 1, 2, 4, 8 or 16 bytes; a bool is 0 or 1. @throws FormatError at 2^53 or more. */
  number(path: string): number {
    return this.#number(this.#field(path), path);
  }

  #number(field: Field, path: string): number {
    const view = this.#view(field);
    const little = this.#program.order === "little";
    if (field.size === 1) return view.getUint8(0);
    if (field.size === 2) return view.getUint16(0, little);
    if (field.size === 4) return view.getUint32(0, little);
    if (field.size === 8) return readU64(view, 0, little);
    if (field.size === 16) return this.#number128(field, path);
    throw this.#program.error(
      QEMU_CORE_RULES.field,
      `${String(this.type)}.${path} of ${field.size} bytes is no number`,
    );
  }

  /** Int128: one integer of 16 bytes, or a structure of `lo` and `hi`. */
  #number128(field: Field, path: string): number {
    const little = this.#program.order === "little";
    const low = field.type.field("lo")?.offset ?? (little ? 0 : 8);
    const high = field.type.field("hi")?.offset ?? (little ? 8 : 0);
    const view = this.#view(field);
    if (view.getBigUint64(high, little) !== ZERO) {
      throw this.#program.error(QEMU_CORE_RULES.beyond64Bits, `${this.what}.${path} is 2^64 or more`);
    }
    return readU64(view, low, little);
  }

  /** A field that need not be there: 0 when this build lacks it. */
  numberOr0(path: string): number {
    return this.has(path) ? this.number(path) : 0;
  }

  flag(path: string): boolean {
    return this.numberOr0(path) !== 0;
  }

  /** A signed number of up to 4 bytes, or of 8 within ±2^31. */
  signed(path: string): number {
    const field = this.#field(path);
    const view = this.#view(field);
    const little = this.#program.order === "little";
    if (field.size === 8) return Number(view.getBigInt64(0, little));
    return field.size === 4 ? view.getInt32(0, little) : this.#number(field, path);
  }

  /** Any number in full: registers. */
  bigint(path: string): bigint {
    const field = this.#field(path);
    return field.size === 8
      ? this.#view(field).getBigUint64(0, this.#program.order === "little")
      : BigInt(this.#number(field, path));
  }

  /** Elements of an array of numbers, in full. */
  bigints(path: string): bigint[] {
    const { field, size, count } = this.#array(path);
    if (size !== 4 && size !== 8) {
      throw this.#program.error(
        QEMU_CORE_RULES.field,
        `${String(this.type)}.${path} has elements of ${size} bytes`,
      );
    }
    const view = this.#view(field);
    const little = this.#program.order === "little";
    return Array.from({ length: count }, (_, i) =>
      size === 8 ? view.getBigUint64(i * 8, little) : BigInt(view.getUint32(i * 4, little)),
    );
  }

  /** Elements of an array of structures. */
  elements(path: string): Value[] {
    const { field, element, size, count } = this.#array(path);
    return Array.from({ length: count }, (_, i) => {
      const at = field.offset + i * size;
      const what = `${this.what}.${path}[${i}]`;
      return new Value(this.#program, element, this.address + at, this.#bytes.subarray(at, at + size), what);
    });
  }

  #array(path: string): { field: Field; element: Type; size: number; count: number } {
    const field = this.#field(path);
    const array = field.type.peel();
    const element = array.target;
    const size = array.kind === "array" ? (element.size ?? 0) : 0;
    if (size === 0)
      throw this.#program.error(QEMU_CORE_RULES.field, `${String(this.type)}.${path} is no array`);
    return { field, element, size, count: Math.floor(field.size / size) };
  }

  /** A structure within this one. */
  member(path: string): Value {
    const { offset, size, type } = this.#field(path);
    const bytes = this.#bytes.subarray(offset, offset + size);
    return new Value(this.#program, type, this.address + offset, bytes, `${this.what}.${path}`);
  }

  /** Text in an array of characters. */
  text(path: string): string {
    const { offset, size } = this.#field(path);
    return latin1(this.#bytes.subarray(offset, offset + size)).replace(/\0[^]*$/, "");
  }

  /** The text a `char *` points to. */
  textAt(path: string): Promise<string | undefined> {
    return this.#program.text(this.number(path));
  }

  /** What a pointer field points to; undefined for NULL or when this build lacks the field. */
  async follow(path: string): Promise<Value | undefined> {
    const field = this.type.field(path);
    if (field === undefined) return undefined;
    const address = this.#number(this.#field(path), path);
    if (address === 0) return undefined;
    return this.#program.read(field.type.peel().target.complete(), address, `${this.what}.${path}`);
  }

  /** What this object, itself a pointer, points to. */
  async target(): Promise<Value | undefined> {
    const address = this.asNumber();
    if (address === 0) return undefined;
    return this.#program.read(this.type.peel().target.complete(), address, `*${this.what}`);
  }

  /** This object as a number or pointer. */
  asNumber(): number {
    return this.#number({ offset: 0, size: this.#bytes.length, type: this.type }, "");
  }

  /** `count` structures in a row from where a pointer field points. */
  async followArray(path: string, count: number): Promise<Value[]> {
    const element = this.#field(path).type.peel().target.complete();
    const size = element.size ?? 0;
    const address = this.number(path);
    const values: Value[] = [];
    // not all at once: the count is not to be trusted
    const step = Math.max(1, Math.floor(LARGEST / 16 / Math.max(1, size)));
    for (let i = 0; i < count; i += step) {
      const part = Math.min(step, count - i);
      const batch = await this.#program.bytes(address + i * size, part * size, `${this.what}.${path}[${i}]`);
      for (let k = 0; k < part; k += 1) {
        const at = address + (i + k) * size;
        const bytes = batch.subarray(k * size, (k + 1) * size);
        values.push(new Value(this.#program, element, at, bytes, `${this.what}.${path}[${i + k}]`));
      }
    }
    return values;
  }

  /** This address read as another type: an object that its first member is known by. */
  as(type: Type): Promise<Value> {
    return this.#program.read(type, this.address, this.what);
  }
}

/** Name of the QOM type of an object (`pc-i440fx-7.2-machine`); undefined where it can't be read. */
export async function objectTypeName(program: Program, address: number): Promise<string | undefined> {
  const object = program.type("Object");
  if (object === undefined || address === 0) return undefined;
  try {
    const value = await program.read(object, address, "Object");
    const type = await (await value.follow("class"))?.follow("type");
    return await type?.textAt("name");
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}
