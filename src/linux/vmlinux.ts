import { DebugInfo } from "../dwarf/info.js";
import { ElfFile } from "../elf/file.js";
import type { ByteSource } from "../io/byte-source.js";
import { Btf } from "./btf.js";
import { BtfTypes } from "./btf-types.js";
import { DwarfTypes } from "./dwarf-types.js";
import { hashName } from "./kallsyms.js";
import { absent, damaged, LINUX_RULES } from "./rules.js";
import { SymbolTable } from "./symbols.js";
import type { KernelTypes } from "./types.js";

/** What a kernel's own file gives where its memory does not. */
export interface Vmlinux {
  readonly name: string;
  /** Build id in lower-case hexadecimal. */
  readonly buildId: string | undefined;
  /** From its BTF, else from its debug information. */
  readonly types: KernelTypes;
  /** Symbols at their run-time addresses; undefined when it was stripped. */
  symbols(slide: bigint): Promise<SymbolTable | undefined>;
}

const SYMBOL_SIZE = 24;
const UNDEFINED = 0;
const ABSOLUTE = 0xfff1;
/** STT_OBJECT and STT_FUNC, and STT_NOTYPE, of assembly. */
const KINDS: ReadonlySet<number> = new Set([0, 1, 2]);
const DOLLAR = 0x24;
/** Addresses of the kernel's half: smaller ones are per-CPU offsets, which do not move. */
const UPPER_HALF = 1n << 63n;

/**
 * Opens a kernel's vmlinux file.
 *
 * @throws AbsentError `linux/types/absent` when it has neither BTF nor debug information; FormatError `elf/…`, `dwarf/…`.
 */
export async function openVmlinux(source: ByteSource): Promise<Vmlinux> {
  const elf = await ElfFile.open(source);
  return {
    name: elf.name,
    buildId: await elf.buildId(),
    types: await typesOf(elf),
    symbols: async (slide) => symbolsOf(elf, slide),
  };
}

async function typesOf(elf: ElfFile): Promise<KernelTypes> {
  const section = await elf.section(".BTF");
  if (section !== undefined)
    return new BtfTypes(new Btf(await elf.sectionData(section)), 8, `BTF of ${elf.name}`);
  if ((await elf.section(".debug_info")) === undefined)
    throw absent(LINUX_RULES.noTypes, "has neither BTF nor debug information", { source: elf.name });
  return new DwarfTypes(await DebugInfo.open(elf), `DWARF of ${elf.name}`);
}

async function symbolsOf(elf: ElfFile, slide: bigint): Promise<SymbolTable | undefined> {
  const table = await elf.section(".symtab");
  const strings = await elf.section(".strtab");
  if (table === undefined || strings === undefined) return undefined;
  const entries = await elf.sectionData(table);
  const text = await elf.sectionData(strings);
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  const most = Math.floor(entries.length / SYMBOL_SIZE);
  const names: { readonly at: number; readonly end: number; readonly address: bigint }[] = [];
  for (let i = 0; i < most; i += 1) {
    const at = i * SYMBOL_SIZE;
    const name = view.getUint32(at, true);
    const section = view.getUint16(at + 6, true);
    if (
      name === 0 ||
      section === UNDEFINED ||
      section === ABSOLUTE ||
      !KINDS.has(view.getUint8(at + 4) & 0xf)
    )
      continue;
    const end = text.indexOf(0, name);
    const value = view.getBigUint64(at + 8, true);
    const address = value >= UPPER_HALF ? BigInt.asUintN(64, value + slide) : value;
    // mapping symbols of aarch64 ($x, $d) name no code
    if (end > name && text[name] !== DOLLAR) names.push({ at: name, end, address });
  }
  names.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  const starts = new Uint32Array(names.length + 1);
  let used = 0;
  for (const [i, { at, end }] of names.entries()) {
    starts[i] = used;
    used += end - at;
  }
  starts[names.length] = used;
  const all = new Uint8Array(used);
  const hashes = new Uint32Array(names.length);
  for (const [i, { at, end }] of names.entries()) {
    const name = text.subarray(at, end);
    all.set(name, starts[i]);
    hashes[i] = hashName(name);
  }
  return new SymbolTable(
    { count: names.length, text: all, starts, letters: new Uint8Array(names.length).fill(0x3f), hashes },
    BigUint64Array.from(names, ({ address }) => address),
  );
}

/** @throws FormatError `linux/vmlinux/mismatch` when a file is of another build than VMCOREINFO says. */
export function checkBuild(vmlinux: Vmlinux, wanted: string | undefined): void {
  if (wanted === undefined || vmlinux.buildId === undefined || vmlinux.buildId === wanted) return;
  throw damaged(
    LINUX_RULES.otherVmlinux,
    `is of another kernel: its build id is ${vmlinux.buildId}, the guest's kernel has ${wanted}`,
    { source: vmlinux.name },
  );
}
