import { firstIndex } from "../binary/search.js";
import { latin1, latin1Bytes } from "../binary/layout.js";
import { NameTable } from "./name-table.js";
import { hashName, type SymbolNames } from "./kallsyms.js";

/** A symbol of the kernel. */
export interface KernelSymbol {
  readonly name: string;
  /** Type letter of nm: `T` text, `D` data, `A` absolute …; lower case for symbols of one file. */
  readonly letter: string;
  readonly address: bigint;
}

/** Where an address is. */
export interface SymbolPlace {
  readonly name: string;
  /** Bytes from the symbol. */
  readonly offset: number;
  /** Bytes to the next symbol; 0 when there is none. */
  readonly size: number;
  /** The module it belongs to. */
  readonly module?: string;
}

/** `do_nanosleep+0x66/0xf0 [module]`, as the kernel prints it. */
export function printPlace(place: SymbolPlace): string {
  const text = `${place.name}+0x${place.offset.toString(16)}/0x${place.size.toString(16)}`;
  return place.module === undefined ? text : `${text} [${place.module}]`;
}

/** Symbols by name and by address. */
export class SymbolTable {
  readonly size: number;
  readonly #names: SymbolNames;
  readonly #addresses: BigUint64Array;
  /** Symbols by ascending address; undefined when the table is in that order itself. */
  readonly #order: Uint32Array | undefined;
  #byName: NameTable | undefined;

  constructor(names: SymbolNames, addresses: BigUint64Array) {
    this.size = Math.min(names.count, addresses.length);
    this.#names = names;
    this.#addresses = addresses;
    this.#order = isAscending(addresses) ? undefined : orderOf(addresses);
  }

  /** Name of symbol `index` in the kernel's own order. */
  name(index: number): string {
    return latin1(this.nameBytes(index));
  }

  /** As `name`, its bytes: a view. */
  nameBytes(index: number): Uint8Array {
    const { text, starts } = this.#names;
    return text.subarray(starts[index] ?? 0, starts[index + 1] ?? 0);
  }

  /** Type letter of symbol `index`, see KernelSymbol. */
  letterAt(index: number): string {
    return String.fromCharCode(this.#names.letters[index] ?? 0);
  }

  /** Address of symbol `index`. */
  addressAt(index: number): bigint {
    return this.#addresses[index] ?? 0n;
  }

  at(index: number): KernelSymbol {
    return { name: this.name(index), letter: this.letterAt(index), address: this.addressAt(index) };
  }

  /** All symbols, in the kernel's own order. */
  *[Symbol.iterator](): Iterator<KernelSymbol> {
    for (let i = 0; i < this.size; i += 1) yield this.at(i);
  }

  /** Address of the first symbol of that name; undefined when there is none. */
  address(name: string): bigint | undefined {
    for (const index of this.#indexes(name)) return this.#addresses[index];
    return undefined;
  }

  /** Addresses of all symbols of that name: static functions of several files share names. */
  addresses(name: string): bigint[] {
    return Array.from(this.#indexes(name), (index) => this.#addresses[index] ?? 0n);
  }

  *#indexes(name: string): Iterable<number> {
    const table = (this.#byName ??= this.#indexNames());
    const bytes = latin1Bytes(name);
    const hash = hashName(bytes);
    for (const index of table.candidates(hash))
      if (this.#names.hashes[index] === hash && this.#isName(index, bytes)) yield index;
  }

  #isName(index: number, bytes: Uint8Array): boolean {
    const { text, starts } = this.#names;
    const start = starts[index] ?? 0;
    if ((starts[index + 1] ?? 0) - start !== bytes.length) return false;
    for (let i = 0; i < bytes.length; i += 1) if (text[start + i] !== bytes[i]) return false;
    return true;
  }

  #indexNames(): NameTable {
    const { hashes, starts } = this.#names;
    return new NameTable(this.size, (i) => (starts[i] === starts[i + 1] ? undefined : hashes[i]));
  }

  /** The symbol that holds `address`, the first of those with the same address, as the kernel chooses. */
  place(address: bigint): SymbolPlace | undefined {
    const above = firstIndex(this.size, (i) => this.#sorted(i) > address);
    if (above === 0) return undefined;
    const start = this.#sorted(above - 1);
    const next = above < this.size ? this.#sorted(above) : start;
    const first = firstIndex(above, (i) => this.#sorted(i) >= start);
    const offset = address - start;
    if (offset > 0x7fff_ffffn) return undefined;
    return { name: this.name(this.#indexAt(first)), offset: Number(offset), size: Number(next - start) };
  }

  #indexAt(rank: number): number {
    return this.#order === undefined ? rank : (this.#order[rank] ?? 0);
  }

  #sorted(rank: number): bigint {
    return this.#addresses[this.#indexAt(rank)] ?? 0n;
  }
}

function isAscending(addresses: BigUint64Array): boolean {
  const words = new Uint32Array(addresses.buffer, addresses.byteOffset, addresses.length * 2);
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  let lastHigh = 0;
  let lastLow = 0;
  for (let i = 0; i < addresses.length; i += 1) {
    const high = words[2 * i + (little ? 1 : 0)] ?? 0;
    const low = words[2 * i + (little ? 0 : 1)] ?? 0;
    if (high < lastHigh || (high === lastHigh && low < lastLow)) return false;
    lastHigh = high;
    lastLow = low;
  }
  return true;
}

function orderOf(addresses: BigUint64Array): Uint32Array {
  const order = Uint32Array.from(addresses, (_, i) => i);
  return order.sort((a, b) => {
    const left = addresses[a] ?? 0n;
    const right = addresses[b] ?? 0n;
    return left < right ? -1 : left > right ? 1 : a - b;
  });
}
