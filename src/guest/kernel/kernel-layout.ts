import { latin1 } from "../../binary/layout.js";
import type { MaybePromise } from "../../io/byte-source.js";
import type { Architecture } from "../arch/architecture.js";
import { CachedMemory } from "../cached-memory.js";
import { PAGE_SIZE, type PhysicalMemory } from "../memory.js";
import { aarch64Tables, isGranule } from "../paging/aarch64.js";
import { longMode, lookUp, type Mapping, mappings, type Translation } from "../paging/walk.js";
import { KERNEL_MAP } from "./running-kernel.js";
import { hexValue, numberValue, parseVmcoreInfo } from "./vmcoreinfo-text.js";

/**
 * Where a Linux kernel maps itself and all of memory: from its own top page table, which VMCOREINFO names. A vCPU's
 * CR3 would not do: it may hold the tables of user mode, which lack the kernel.
 */

/** What a kernel's own page tables say of its layout. */
export interface KernelLayout {
  /** Mappings of the kernel's image (text, data), ascending; never empty. */
  readonly image: readonly Mapping[];
  /**
   * Virtual address of guest-physical address 0 in the direct map, of all memory (on x86_64 PAGE_OFFSET), as an
   * unsigned 64-bit number; undefined: not found.
   */
  readonly directMap: bigint | undefined;
}

/** Virtual end of the region that holds an x86_64 kernel's image and modules; phys_base counts from its start. */
const KERNEL_MAP_END = 0xffff_ffff_ffff_f000n;

/** An x86_64 kernel's direct map is from here on, with four and five levels (Linux, Documentation/arch/x86/x86_64/mm.rst). */
const DIRECT_START = { 4: 0xffff_8800_0000_0000n, 5: 0xff10_0000_0000_0000n } as const;
/** It begins at a multiple of this. */
const DIRECT_UNIT = 1n << 30n;
/** Tables' entries looked at on the way to the first address that is mapped. */
const MOST_STEPS = 4096;

/** Bytes of virtual memory, from a little before an aarch64 kernel's text on, in which its image is. */
const IMAGE_SPAN = 256n << 20n;
const IMAGE_UNIT = 2n << 20n;

type LookUp = (va: bigint) => MaybePromise<Translation | undefined>;

/** A kernel's page tables, as VMCOREINFO names them. */
interface KernelTables {
  /** Guest-physical address of the top table. */
  readonly root: number;
  /** Virtual address of the kernel's text. */
  readonly text: bigint;
  readonly info: ReadonlyMap<string, string>;
}

/**
 * The layout of a kernel, by its VMCOREINFO; undefined: its tables don't map its image where VMCOREINFO says, or no such
 * architecture's are read.
 * @throws FormatError damaged page tables
 */
export async function kernelLayout(
  memory: PhysicalMemory,
  vmcoreInfo: string,
  arch: Architecture,
): Promise<KernelLayout | undefined> {
  const info = parseVmcoreInfo(vmcoreInfo);
  const image = await imageBy(memory, info, arch);
  const [first] = image;
  if (first === undefined) return undefined;
  const directMap =
    arch.name === "x86_64"
      ? await x86DirectMap(memory, info, first)
      : await arm64DirectMap(memory, info, first);
  return { image, directMap };
}

/** The mappings of a kernel's image (text, data); empty when VMCOREINFO names no tables or they do not map it. */
export async function kernelTextMapping(
  memory: PhysicalMemory,
  vmcoreInfo: string,
  arch: Architecture,
): Promise<readonly Mapping[]> {
  return imageBy(memory, parseVmcoreInfo(vmcoreInfo), arch);
}

/** Whether the page tables of an architecture's kernels are read. */
export const hasTablesRead = ({ name, order }: Architecture): boolean =>
  name === "x86_64" || (name === "aarch64" && order === "little");

/**
 * Whether VMCOREINFO fits the kernel in memory: its page tables map its text where it says, and the kernel there is of
 * the release that it names. Undefined: it can't be
 * told, because the architecture's tables aren't read or the top table isn't in the memory that there is.
 */
export async function fitsMemory(
  memory: PhysicalMemory,
  vmcoreInfo: string,
  arch: Architecture,
): Promise<boolean | undefined> {
  const info = parseVmcoreInfo(vmcoreInfo);
  if (!hasTablesRead(arch)) return undefined;
  const image = await imageBy(memory, info, arch);
  if (image.length > 0) return (await releaseIn(memory, image, info)) ?? true;
  const tables = arch.name === "x86_64" ? x86Tables(info) : arm64Tables(info);
  // a dump may lack the table, and a text its name
  if (tables === undefined) return undefined;
  return (await memory.read(tables.root, new Uint8Array(8))) < 8 ? undefined : false;
}

/** Bytes of the initial UTS namespace in which its release is. */
const UTS_SIZE = 512;

/** Whether the kernel's initial UTS namespace has the release that VMCOREINFO names; undefined: it isn't there. */
async function releaseIn(
  memory: PhysicalMemory,
  image: readonly Mapping[],
  info: ReadonlyMap<string, string>,
): Promise<boolean | undefined> {
  const [at, release] = [hexValue(info.get("SYMBOL(init_uts_ns)")), info.get("OSRELEASE")];
  if (at === undefined || release === undefined) return undefined;
  const home = image.find(({ va, length }) => va <= at && at < va + BigInt(length));
  if (home === undefined) return undefined;
  const bytes = new Uint8Array(UTS_SIZE);
  if ((await memory.read(home.gpa + Number(at - home.va), bytes)) < UTS_SIZE) return undefined;
  return latin1(bytes).includes(`\0${release}\0`);
}

function imageBy(
  memory: PhysicalMemory,
  info: ReadonlyMap<string, string>,
  arch: Architecture,
): Promise<readonly Mapping[]> {
  if (arch.name === "x86_64") return x86Image(memory, info);
  if (arch.name === "aarch64" && arch.order === "little") return arm64Image(memory, info);
  return Promise.resolve([]);
}

function topTable(info: ReadonlyMap<string, string>): bigint | undefined {
  return hexValue(info.get("SYMBOL(swapper_pg_dir)") ?? info.get("SYMBOL(init_top_pgt)"));
}

function x86Tables(info: ReadonlyMap<string, string>): KernelTables | undefined {
  const [top, text] = [topTable(info), hexValue(info.get("SYMBOL(_stext)"))];
  const physBase = info.get("NUMBER(phys_base)");
  if (top === undefined || text === undefined || top < KERNEL_MAP || text < KERNEL_MAP) return undefined;
  if (physBase !== undefined && !/^-?\d{1,19}$/.test(physBase)) return undefined;
  const root = Number(top - KERNEL_MAP) + Number(physBase ?? 0);
  return Number.isSafeInteger(root) && root >= 0 && root % PAGE_SIZE === 0 ? { root, text, info } : undefined;
}

/** Guest-physical address of the top page table that an x86_64 kernel's VMCOREINFO names. */
export function x86TopTable(vmcoreInfo: string): number | undefined {
  return x86Tables(parseVmcoreInfo(vmcoreInfo))?.root;
}

const x86Levels = (info: ReadonlyMap<string, string>): 4 | 5 =>
  info.get("NUMBER(pgtable_l5_enabled)") === "1" ? 5 : 4;

async function x86Image(
  memory: PhysicalMemory,
  info: ReadonlyMap<string, string>,
): Promise<readonly Mapping[]> {
  const tables = x86Tables(info);
  if (tables === undefined) return [];
  const { root, text } = tables;
  const all = await mappings(memory, longMode(root, x86Levels(info)), KERNEL_MAP, KERNEL_MAP_END);
  const home = all.find((m) => m.va <= text && text < m.va + BigInt(m.length));
  if (home === undefined) return [];
  // the image is in one piece; freed or unmapped parts (init text, gaps) only part the mapping
  const shift = home.va - BigInt(home.gpa);
  return all.filter((m) => m.va - BigInt(m.gpa) === shift);
}

/** The direct map is the first that the kernel's half of its tables maps; it must map the kernel's own tables and image. */
async function x86DirectMap(
  memory: PhysicalMemory,
  info: ReadonlyMap<string, string>,
  image: Mapping,
): Promise<bigint | undefined> {
  const tables = x86Tables(info);
  if (tables === undefined) return undefined;
  const levels = x86Levels(info);
  const paging = longMode(tables.root, levels);
  const look: LookUp = (va) => lookUp(memory, paging, va);
  let va: bigint = DIRECT_START[levels];
  for (let step = 0; step < MOST_STEPS && va < KERNEL_MAP; step += 1) {
    const result = look(va);
    const found = result instanceof Promise ? await result : result;
    if (found !== undefined && "gpa" in found) {
      const base = va - BigInt(found.gpa);
      return base % DIRECT_UNIT === 0n && (await mapsAll(look, base, [tables.root, image.gpa]))
        ? base
        : undefined;
    }
    const span = 1n << BigInt(found?.unmapped ?? 30);
    va = (va / span + 1n) * span;
  }
  return undefined;
}

/** Tables of a direct map that are read: one of 1 TiB in pages of 2 MiB has a thousand. */
const MOST_DIRECT_TABLES = 32 << 10;

/**
 * Guest-physical memory below `end` that an x86_64 kernel's direct map has, ascending.
 * @param directMap virtual address of guest-physical address 0
 */
export async function x86DirectMemory(
  memory: PhysicalMemory,
  vmcoreInfo: string,
  directMap: bigint,
  end: number,
): Promise<readonly { readonly start: number; readonly end: number }[]> {
  const info = parseVmcoreInfo(vmcoreInfo);
  const tables = x86Tables(info);
  if (tables === undefined) return [];
  const paging = longMode(tables.root, x86Levels(info));
  const all = await mappings(memory, paging, directMap, directMap + BigInt(end), MOST_DIRECT_TABLES);
  return all
    .filter(({ va, gpa }) => va - BigInt(gpa) === directMap)
    .map(({ gpa, length }) => ({ start: gpa, end: gpa + length }));
}

/** Whether guest-physical addresses are where a direct map from `base` on has them. */
async function mapsAll(look: LookUp, base: bigint, places: readonly number[]): Promise<boolean> {
  for (const gpa of places) {
    const found = await look(BigInt.asUintN(64, base + BigInt(gpa)));
    if (found === undefined || !("gpa" in found) || found.gpa !== gpa) return false;
  }
  return true;
}

function arm64Tables(info: ReadonlyMap<string, string>): KernelTables | undefined {
  const [top, text] = [topTable(info), hexValue(info.get("SYMBOL(_stext)"))];
  const offset = numberValue(info.get("NUMBER(kimage_voffset)"));
  if (top === undefined || text === undefined || offset === undefined) return undefined;
  const root = Number(top - offset);
  return Number.isSafeInteger(root) && root >= 0 && root % 64 === 0 ? { root, text, info } : undefined;
}

function arm64LookUp(memory: PhysicalMemory, { root, info }: KernelTables): LookUp {
  const size = Number(numberValue(info.get("PAGESIZE")) ?? 4096n);
  const granule = isGranule(size) ? size : 4096;
  const built = Number(numberValue(info.get("NUMBER(VA_BITS)")) ?? 48n);
  const t1sz = numberValue(info.get("NUMBER(TCR_EL1_T1SZ)"));
  // with 64 KiB pages the top table is laid out for the bits the kernel was built for
  const bits = t1sz === undefined || granule === 65536 ? built : 64 - Number(t1sz);
  const isSound = bits >= 36 && bits <= 52;
  // each page of the image is looked up: its tables are read once, from a packed dump too
  const tables = aarch64Tables(new CachedMemory(memory), { root, granule, bits: isSound ? bits : 48 });
  return (va) => tables.lookUp(va);
}

/** Mappings at kimage_voffset from what they map, joined, around the kernel's text. */
async function arm64Image(
  memory: PhysicalMemory,
  info: ReadonlyMap<string, string>,
): Promise<readonly Mapping[]> {
  const tables = arm64Tables(info);
  const offset = numberValue(info.get("NUMBER(kimage_voffset)"));
  if (tables === undefined || offset === undefined) return [];
  const look = arm64LookUp(memory, tables);
  if (!(await mapsAll(look, offset, [Number(tables.text - offset)]))) return [];
  const image: { va: bigint; gpa: number; length: number }[] = [];
  const start = tables.text - (tables.text % IMAGE_UNIT);
  for (let va = start; va < start + IMAGE_SPAN; ) {
    const result = look(va);
    const found = result instanceof Promise ? await result : result;
    if (found === undefined || !("gpa" in found)) {
      const span = 1n << BigInt(Math.max(12, found?.unmapped ?? 12));
      va = (va / span + 1n) * span;
      continue;
    }
    const last = image.at(-1);
    if (BigInt(found.gpa) === BigInt.asUintN(64, va - offset)) {
      if (last !== undefined && last.va + BigInt(last.length) === va) last.length += PAGE_SIZE;
      else image.push({ va, gpa: found.gpa, length: PAGE_SIZE });
    }
    va += BigInt(PAGE_SIZE);
  }
  return image;
}

/**
 * The direct map begins at the lowest address of the kernel's half, since Linux 5.4; before, in the middle of it. What
 * its first address maps is PHYS_OFFSET.
 */
async function arm64DirectMap(
  memory: PhysicalMemory,
  info: ReadonlyMap<string, string>,
  image: Mapping,
): Promise<bigint | undefined> {
  const tables = arm64Tables(info);
  const physOffset = numberValue(info.get("NUMBER(PHYS_OFFSET)"));
  if (tables === undefined || physOffset === undefined) return undefined;
  const look = arm64LookUp(memory, tables);
  const t1sz = numberValue(info.get("NUMBER(TCR_EL1_T1SZ)"));
  const widths = new Set([numberValue(info.get("NUMBER(VA_BITS)")) ?? 48n, 64n - (t1sz ?? 16n)]);
  for (const bits of widths) {
    if (bits < 36n || bits > 52n) continue;
    for (const start of [-(1n << bits), -(1n << (bits - 1n))]) {
      const base = BigInt.asUintN(64, start - physOffset);
      if (await mapsAll(look, base, [tables.root, image.gpa])) return base;
    }
  }
  return undefined;
}
