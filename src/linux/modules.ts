import { firstIndex } from "../binary/search.js";
import { AbsentError } from "../findings/errors.js";
import { latin1Bytes } from "../binary/layout.js";
import { memoryTotals } from "../guest/memory.js";
import type { Kernel } from "./kernel.js";
import { listEntries } from "./lists.js";
import { type KernelObject, decodeText } from "./object.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";
import type { SymbolPlace } from "./symbols.js";

/** Memory of a module: virtual, `end` exclusive. */
export interface ModuleRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** A loaded module. */
export interface KernelModule {
  readonly name: string;
  /** Where its code begins. */
  readonly address: bigint;
  /** Bytes in all, without what was freed after its start. */
  readonly size: number;
  /** Letters of what it taints the kernel with: `OE`. */
  readonly taint: string;
  readonly ranges: readonly ModuleRange[];
  /** The struct module. */
  readonly object: KernelObject;
}

/** Kinds of module memory since Linux 6.4 (enum mod_mem_type): text and data, then those freed after its start. */
const KEPT_KINDS = 4;
/** Bytes of one module: its code reaches 2 GiB at most. */
const MOST_BYTES = 2 ** 31;
const MOST_MODULES = 4096;
const MOST_SYMBOLS = 1 << 20;
const SYMBOL_SIZE = 24;

/**
 * Loaded modules, newest first, as lsmod lists them.
 *
 * @throws AbsentError when the kernel's symbols or types are missing.
 */
export async function listModules(kernel: Kernel): Promise<readonly KernelModule[]> {
  const known = MODULES.get(kernel);
  if (known !== undefined) return known;
  const head = kernel.needSymbol("modules");
  const found: KernelModule[] = [];
  for await (const address of listEntries(kernel, head, "module", "list")) {
    const object = await kernel.tryLoad("module", address);
    if (object === undefined) continue;
    // a module that is being loaded has no memory to speak of
    const ranges = rangesOf(object);
    const [first] = ranges;
    found.push({
      name: object.text("name"),
      address: first?.start ?? 0n,
      size: ranges.reduce((sum, { start, end }) => sum + Number(end - start), 0),
      taint: object.has("taints") ? taintLetters(object.pointer("taints")) : "",
      ranges,
      object,
    });
    if (found.length === MOST_MODULES) {
      kernel.note(LINUX_RULES.tooLong, `there are more than ${MOST_MODULES} modules`);
      break;
    }
  }
  MODULES.set(kernel, found);
  return found;
}

const MODULES = new WeakMap<Kernel, readonly KernelModule[]>();

function rangesOf(object: KernelObject): ModuleRange[] {
  const ranges: ModuleRange[] = [];
  const add = (base: string, size: string): void => {
    const start = object.pointer(base);
    const bytes = object.number(size);
    if (start !== 0n && bytes > 0 && bytes < MOST_BYTES) ranges.push({ start, end: start + BigInt(bytes) });
  };
  if (object.has("mem[0].base"))
    for (let kind = 0; kind < KEPT_KINDS; kind += 1) add(`mem[${kind}].base`, `mem[${kind}].size`);
  else if (object.has("core_layout.base")) add("core_layout.base", "core_layout.size");
  else if (object.has("module_core")) add("module_core", "core_size");
  return ranges;
}

/** Letters of a taint mask, by bit (Linux, Documentation/admin-guide/tainted-kernels.rst). */
const TAINTS = "PFSRMBUDAWCIOELKXTNJ";

/** `OE` for a mask with bits 12 and 13. */
export function taintLetters(mask: bigint): string {
  return Array.from(TAINTS, (letter, bit) => ((mask >> BigInt(bit)) & 1n ? letter : "")).join("");
}

/** Symbols of one module by ascending address. */
interface ModuleSymbols {
  readonly module: KernelModule;
  readonly addresses: BigUint64Array;
  readonly names: readonly (() => string)[];
}

/**
 * Loads the symbols of all modules, so that `kernel.place` knows code of modules too. A module whose symbols can't be
 * had counts from its start, and that is noted. Does nothing for a kernel without types, whose modules are unknown.
 */
export async function useModuleSymbols(kernel: Kernel): Promise<void> {
  if (SYMBOLS.has(kernel)) return;
  SYMBOLS.add(kernel);
  let modules: readonly KernelModule[];
  try {
    modules = await listModules(kernel);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.noType, `code of modules has no names: ${error.message}`);
    return;
  }
  const ranges: { readonly range: ModuleRange; readonly symbols: ModuleSymbols }[] = [];
  // tables of modules don't overlap in memory
  const room = { bytes: memoryTotals(kernel.guest.memory).present };
  for (const module of modules) {
    const symbols = await symbolsOf(kernel, module, room);
    for (const range of module.ranges) ranges.push({ range, symbols });
  }
  ranges.sort((a, b) => (a.range.start < b.range.start ? -1 : 1));
  kernel.useModules((address) => {
    const home = ranges.find(({ range }) => address >= range.start && address < range.end);
    return home === undefined ? undefined : placeIn(home.symbols, home.range, address);
  });
}

const SYMBOLS = new WeakSet<Kernel>();

function placeIn(symbols: ModuleSymbols, range: ModuleRange, address: bigint): SymbolPlace {
  const { addresses, names, module } = symbols;
  const above = firstIndex(addresses.length, (i) => (addresses[i] ?? 0n) > address);
  const next = addresses[above];
  const end = next !== undefined && next < range.end ? next : range.end;
  const start = addresses[above - 1];
  // nothing named before it in this part of the module
  if (start === undefined || start < range.start)
    return {
      name: module.name,
      offset: Number(address - range.start),
      size: Number(range.end - range.start),
      module: module.name,
    };
  const first = firstIndex(above, (i) => (addresses[i] ?? 0n) >= start);
  const name = names[first]?.() ?? module.name;
  return { name, offset: Number(address - start), size: Number(end - start), module: module.name };
}

/** Bytes of tables that there still can be. */
interface Room {
  bytes: number;
}

async function symbolsOf(kernel: Kernel, module: KernelModule, room: Room): Promise<ModuleSymbols> {
  try {
    return await readSymbols(kernel, module, room);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.noKallsyms, `code of module ${module.name} has no names: ${error.message}`);
    return { module, addresses: new BigUint64Array(0), names: [] };
  }
}

async function readSymbols(kernel: Kernel, module: KernelModule, room: Room): Promise<ModuleSymbols> {
  const { object } = module;
  const table = object.has("kallsyms") ? await object.follow("kallsyms") : object;
  const count = Math.min(table.number("num_symtab"), MOST_SYMBOLS);
  const bytes = await readUpTo(
    kernel.space,
    table.pointer("symtab"),
    Math.min(count * SYMBOL_SIZE, room.bytes),
  );
  room.bytes -= bytes.length;
  const strings = table.pointer("strtab");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: { readonly address: bigint; readonly name: number }[] = [];
  for (let at = 0; at + SYMBOL_SIZE <= bytes.length; at += SYMBOL_SIZE) {
    const section = view.getUint16(at + 6, true);
    const name = view.getUint32(at, true);
    if (section === 0 || name === 0) continue;
    found.push({ address: view.getBigUint64(at + 8, true), name });
  }
  found.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  const last = found.reduce((most, { name }) => Math.max(most, name), 0);
  const text = await readUpTo(kernel.space, strings, Math.min(last + 512, 16 << 20, room.bytes));
  room.bytes -= text.length;
  const isMapping = ({ name }: { readonly name: number }): boolean =>
    text[name] === DOLLAR || (text[name] ?? 0) === 0;
  const kept = found.filter((symbol) => !isMapping(symbol));
  return {
    module,
    addresses: BigUint64Array.from(kept, ({ address }) => address),
    names: kept.map(
      ({ name }) =>
        () =>
          decodeText(text.subarray(name, name + 512)),
    ),
  };
}

/** Mapping symbols of aarch64 (`$x`, `$d`) name no code. */
const DOLLAR = latin1Bytes("$")[0];
