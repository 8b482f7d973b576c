import type { GuestImage } from "../guest/image.js";
import { PAGE_SIZE, type MemoryPiece, type MemoryRange, type PhysicalMemory } from "../guest/memory.js";
import { longMode, lookUp, type Paging } from "../guest/paging/walk.js";
import { KERNEL_MAP } from "../guest/kernel/running-kernel.js";
import type { MaybePromise } from "../io/byte-source.js";
import { aarch64Tables, type Granule, isGranule } from "../guest/paging/aarch64.js";
import type { PageTables } from "./address-space.js";
import type { CachedMemory } from "../guest/cached-memory.js";
import { machineFrames } from "../guest/paging/machine-frames.js";
import { absent, damaged, LINUX_RULES } from "./rules.js";

/** VMCOREINFO: `KEY=VALUE` lines. */
export type VmcoreInfoMap = ReadonlyMap<string, string>;

/** How a kernel and its processes translate addresses. */
export interface KernelPaging {
  /** The kernel's own page tables. */
  readonly kernel: PageTables;
  /** Page tables of a process: its top table, guest-physical. */
  process(root: number): PageTables;
}

/** A hexadecimal value of VMCOREINFO, such as a symbol's address; undefined when it is missing or malformed. */
export function hexEntry(info: VmcoreInfoMap, key: string): bigint | undefined {
  const value = info.get(key);
  return value !== undefined && /^[0-9a-f]{1,16}$/.test(value) ? BigInt(`0x${value}`) : undefined;
}

/** A symbol's address, as VMCOREINFO gives it. */
export function symbolEntry(info: VmcoreInfoMap, name: string): bigint | undefined {
  return hexEntry(info, `SYMBOL(${name})`);
}

/** A decimal value of VMCOREINFO. */
function numberEntry(info: VmcoreInfoMap, key: string): bigint | undefined {
  const value = info.get(key);
  return value !== undefined && /^-?\d{1,20}$/.test(value) ? BigInt(value) : undefined;
}

/**
 * The page tables of the kernel that VMCOREINFO describes, whether or not they agree with the memory.
 *
 * @throws AbsentError, FormatError when VMCOREINFO does not name them or the architecture is not known.
 */
export function kernelPaging(guest: GuestImage, memory: CachedMemory, info: VmcoreInfoMap): KernelPaging {
  const { name, order } = guest.arch;
  const top = symbolEntry(info, "swapper_pg_dir") ?? symbolEntry(info, "init_top_pgt");
  if (top === undefined)
    throw absent(
      LINUX_RULES.noVmcoreInfo,
      "VMCOREINFO does not name the kernel's page tables (swapper_pg_dir)",
      {
        source: guest.facts.source,
      },
    );
  if (name === "x86_64") return x86Paging(guest, memory, info, top);
  if (name === "aarch64" && order === "little") return arm64Paging(guest, memory, info, top);
  throw absent(LINUX_RULES.architecture, `memory of Linux on ${name} is not read beyond VMCOREINFO`, {
    source: guest.facts.source,
  });
}

function rootOf(guest: GuestImage, address: bigint): number {
  const root = Number(address);
  if (!Number.isSafeInteger(root) || root < 0 || root % 64 !== 0)
    throw damaged(LINUX_RULES.badVmcoreInfo, "VMCOREINFO puts the kernel's page tables at no valid address", {
      source: guest.facts.source,
    });
  return root;
}

function x86Paging(guest: GuestImage, memory: CachedMemory, info: VmcoreInfoMap, top: bigint): KernelPaging {
  const root = rootOf(guest, top - KERNEL_MAP + (numberEntry(info, "NUMBER(phys_base)") ?? 0n));
  const levels = numberEntry(info, "NUMBER(pgtable_l5_enabled)") === 1n ? 5 : 4;
  const mask = numberEntry(info, "NUMBER(sme_mask)") ?? 0n;
  const entries = tableMemory(guest, memory, mask);
  const tables = (at: number): PageTables => {
    const paging: Paging = longMode(at, levels);
    const bits = BigInt(12 + 9 * levels);
    return {
      // an address whose upper bits are not alike can't be used by a CPU
      lookUp: (va) => (isCanonical(va, bits) ? lookUp(entries, paging, va) : { unmapped: 12 }),
      canonical: (va) => va,
    };
  };
  return { kernel: tables(root), process: tables };
}

function isCanonical(va: bigint, bits: bigint): boolean {
  const upper = va >> (bits - 1n);
  return upper === 0n || upper === (1n << (65n - bits)) - 1n;
}

/** Memory as page tables are read: machine frames of a PV guest and encryption marks are taken out of entries. */
function tableMemory(guest: GuestImage, memory: CachedMemory, mask: bigint): PhysicalMemory {
  const frameOf = guest.machineFrame === undefined ? undefined : machineFrames(guest);
  if (frameOf === undefined && mask <= 0n) return memory;
  return new EntryMemory(memory, (entry) => {
    const plain = entry & ~mask;
    if (frameOf === undefined || (plain & 1n) === 0n) return plain;
    const frame = frameOf(Number((plain >> 12n) & 0xff_ffff_ffffn));
    if (frame === undefined) return 0n;
    return (plain & ~0xf_ffff_ffff_f000n) | (BigInt(frame) << 12n);
  });
}

/** Memory in which every read of eight bytes is a page-table entry to be rewritten. */
class EntryMemory implements PhysicalMemory {
  readonly #memory: CachedMemory;
  readonly #rewrite: (entry: bigint) => bigint;

  constructor(memory: CachedMemory, rewrite: (entry: bigint) => bigint) {
    this.#memory = memory;
    this.#rewrite = rewrite;
  }

  ranges(): Iterable<MemoryRange> {
    return this.#memory.ranges();
  }

  pieces(start?: number, end?: number): AsyncIterable<MemoryPiece> {
    return this.#memory.pieces(start, end);
  }

  read(gpa: number, into: Uint8Array): MaybePromise<number> {
    const finish = (n: number): number => {
      if (n === 8 && into.length === 8) {
        const view = new DataView(into.buffer, into.byteOffset, 8);
        view.setBigUint64(0, this.#rewrite(view.getBigUint64(0, true)), true);
      }
      return n;
    };
    const n = this.#memory.read(gpa, into);
    return n instanceof Promise ? n.then(finish) : finish(n);
  }
}

function arm64Paging(
  guest: GuestImage,
  memory: CachedMemory,
  info: VmcoreInfoMap,
  top: bigint,
): KernelPaging {
  const offset = hexNumberEntry(info, "NUMBER(kimage_voffset)");
  if (offset === undefined)
    throw absent(
      LINUX_RULES.noVmcoreInfo,
      "VMCOREINFO does not say where the kernel's image is (kimage_voffset)",
      {
        source: guest.facts.source,
      },
    );
  const root = rootOf(guest, top - offset);
  const size = Number(numberEntry(info, "PAGESIZE") ?? BigInt(PAGE_SIZE));
  const granule: Granule = isGranule(size) ? size : 4096;
  const built = Number(numberEntry(info, "NUMBER(VA_BITS)") ?? 48n);
  const t1sz = hexNumberEntry(info, "NUMBER(TCR_EL1_T1SZ)");
  // with 64 KiB pages the top table is laid out for the bits the kernel was built for
  const bits = t1sz === undefined || granule === 65536 ? built : 64 - Number(t1sz);
  const tables = (at: number): PageTables => aarch64Tables(memory, { root: at, granule, bits });
  return { kernel: tables(root), process: tables };
}

/** Numbers that arm64 prints in hexadecimal with 0x, others in decimal. */
export function hexNumberEntry(info: VmcoreInfoMap, key: string): bigint | undefined {
  const value = info.get(key);
  if (value === undefined) return undefined;
  return /^0x[0-9a-f]{1,16}$/i.test(value) ? BigInt(value) : numberEntry(info, key);
}
