import { type ByteOrder, latin1Bytes, viewOf } from "../binary/layout.js";
import { FormatError } from "../findings/errors.js";
import { elfLayouts, type ElfBits, SHN_UNDEF, STB_LOCAL } from "./layout.js";
import { findStrings, findValues } from "./search-bytes.js";

/** One defined symbol. */
export interface ElfSymbol {
  readonly name: string;
  /** Link-time address. */
  readonly address: bigint;
  readonly size: number;
  /** STT_…: 1 object, 2 function. */
  readonly type: number;
  /** STB_…: 0 local, 1 global, 2 weak. */
  readonly binding: number;
  readonly section: number;
}

interface SymbolPart {
  readonly entries: Uint8Array;
  readonly names: Uint8Array;
}

/** Symbols of a file, looked up by name without an object each. */
export class SymbolTable {
  readonly #file: string;
  readonly #bits: ElfBits;
  readonly #order: ByteOrder;
  readonly #parts: readonly SymbolPart[];

  constructor(file: string, bits: ElfBits, order: ByteOrder, parts: readonly SymbolPart[]) {
    this.#file = file;
    this.#bits = bits;
    this.#order = order;
    this.#parts = parts;
  }

  get length(): number {
    const { sym } = elfLayouts(this.#bits);
    return this.#parts.reduce((sum, part) => sum + Math.floor(part.entries.length / sym.size), 0);
  }

  /** A defined symbol; a global one before local ones of the same name. */
  find(name: string): ElfSymbol | undefined {
    let local: ElfSymbol | undefined;
    for (const symbol of this.findAll(name)) {
      if (symbol.binding !== STB_LOCAL) return symbol;
      local ??= symbol;
    }
    return local;
  }

  /** All defined symbols of a name, table by table. */
  *findAll(name: string): Iterable<ElfSymbol> {
    const { sym } = elfLayouts(this.#bits);
    const little = this.#order === "little";
    const wanted = latin1Bytes(name);
    for (const { entries, names } of this.#parts) {
      const view = viewOf(entries);
      // st_name comes first
      for (const { at } of findValues(entries, findStrings(names, wanted), little)) {
        if (at % sym.size !== 0 || at + sym.size > entries.length) continue;
        const record = this.#decode(() => sym.read(view, at, this.#order), name);
        if (record.st_shndx === SHN_UNDEF) continue;
        yield {
          name,
          address: record.st_value,
          size: record.st_size,
          type: record.st_info & 0xf,
          binding: record.st_info >> 4,
          section: record.st_shndx,
        };
      }
    }
  }

  #decode<T>(decode: () => T, name: string): T {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(error.rule, error.message, { source: this.#file, record: `symbol ${name}` });
    }
  }
}
