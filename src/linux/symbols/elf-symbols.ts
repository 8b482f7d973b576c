import { firstIndex } from "../../binary/search.js";
import { WriteBuffer } from "../../dwarf/write-buffer.js";
import type { Kernel } from "../kernel.js";
import type { ImageSection } from "./image-sections.js";
import { linkAddress } from "./link-address.js";

const SHN_ABS = 0xfff1;
const STB_LOCAL = 0;
const STB_GLOBAL = 1;
const STB_WEAK = 2;
const STT_NOTYPE = 0;
const STT_OBJECT = 1;
const STT_FUNC = 2;

/** A symbol table of ELF. */
export interface ElfSymbols {
  /** `.symtab` */
  readonly entries: Uint8Array;
  /** `.strtab` */
  readonly strings: Uint8Array;
  /** Number of the first symbol that is not local. */
  readonly locals: number;
  readonly count: number;
}

/** Sections by address. */
class SectionIndex {
  readonly #sections: readonly ImageSection[];

  constructor(sections: readonly ImageSection[]) {
    this.#sections = sections;
  }

  /** Number of the section that holds an address, or that ends there; undefined outside of all. */
  at(address: bigint): number | undefined {
    const sections = this.#sections;
    const at = firstIndex(sections.length, (i) => (sections[i]?.start ?? 0n) > address) - 1;
    const section = sections[at];
    return section === undefined || address > section.start + BigInt(section.size) ? undefined : at;
  }
}

/** Distances from symbols to the next ones. */
class Sizes {
  readonly #sorted: BigUint64Array;

  constructor(kernel: Kernel) {
    const symbols = kernel.needSymbols();
    const sorted = new BigUint64Array(symbols.size);
    for (let i = 0; i < sorted.length; i += 1) sorted[i] = linkAddress(kernel, symbols.addressAt(i));
    this.#sorted = sorted.sort();
  }

  /** Bytes to the next higher symbol or `end`, whichever comes first. */
  size(address: bigint, end: bigint): number {
    const sorted = this.#sorted;
    const next = sorted[firstIndex(sorted.length, (i) => (sorted[i] ?? 0n) > address)] ?? end;
    const size = (next < end ? next : end) - address;
    return size > 0n ? Number(size) : 0;
  }
}

const bindingOf = (letter: string): number =>
  /[wv]/i.test(letter) ? STB_WEAK : letter === letter.toLowerCase() ? STB_LOCAL : STB_GLOBAL;

/**
 * The kernel's symbols as ELF has them, at their link addresses: functions and objects with the bytes to the next symbol,
 * local ones first. Symbols outside of all sections are absolute.
 */
export function elfSymbols(kernel: Kernel, sections: readonly ImageSection[]): ElfSymbols {
  const symbols = kernel.needSymbols();
  const index = new SectionIndex(sections);
  const sizes = new Sizes(kernel);
  const entries = new WriteBuffer((symbols.size + 1) * 24);
  const strings = new WriteBuffer(symbols.size * 24);
  strings.u8(0);
  entries.raw(new Uint8Array(24));
  let locals = 1;
  for (const wantsLocal of [true, false]) {
    for (let i = 0; i < symbols.size; i += 1) {
      const letter = symbols.letterAt(i);
      const binding = bindingOf(letter);
      if ((binding === STB_LOCAL) !== wantsLocal) continue;
      const value = linkAddress(kernel, symbols.addressAt(i));
      const number = letter === "A" || letter === "a" ? perCpuOnly(index, sections, value) : index.at(value);
      const section = number === undefined ? undefined : sections[number];
      const end = section === undefined ? value : section.start + BigInt(section.size);
      const isCode = section?.use === "x" && /[tw]/i.test(letter);
      const type = section === undefined || value === end ? STT_NOTYPE : isCode ? STT_FUNC : STT_OBJECT;
      entries.u32(strings.length);
      entries.u8((binding << 4) | type);
      entries.u8(0);
      entries.u16(number === undefined ? SHN_ABS : number + 1);
      entries.u64(value);
      entries.u64(type === STT_NOTYPE ? 0n : BigInt(sizes.size(value, end)));
      strings.raw(symbols.nameBytes(i));
      strings.u8(0);
    }
    if (wantsLocal) locals = entries.length / 24;
  }
  return { entries: entries.bytes(), strings: strings.bytes(), locals, count: symbols.size };
}

/** Per-CPU symbols are absolute in kallsyms and belong to a section all the same. */
function perCpuOnly(
  index: SectionIndex,
  sections: readonly ImageSection[],
  value: bigint,
): number | undefined {
  const number = index.at(value);
  return number !== undefined && sections[number]?.perCpu === true ? number : undefined;
}

/** Where a function's code is, by name; of several functions of one name none is known. */
export function functionCode(
  kernel: Kernel,
  sections: readonly ImageSection[],
): (name: string) => { readonly start: bigint; readonly size: number } | undefined {
  const symbols = kernel.needSymbols();
  const index = new SectionIndex(sections);
  const sizes = new Sizes(kernel);
  return (name) => {
    const [address, ...others] = symbols.addresses(name);
    if (address === undefined || others.length > 0) return undefined;
    const start = linkAddress(kernel, address);
    const section = sections[index.at(start) ?? -1];
    if (section?.use !== "x") return undefined;
    const size = sizes.size(start, section.start + BigInt(section.size));
    return size === 0 ? undefined : { start, size };
  };
}
