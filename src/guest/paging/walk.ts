import { viewOf } from "../../binary/layout.js";
import type { MaybePromise } from "../../io/byte-source.js";
import type { PhysicalMemory } from "../memory.js";
import type { X86Registers } from "../vcpu.js";

/**
 * Page tables of x86 (Intel SDM volume 3, chapter 5; AMD APM volume 2, chapter 5): from virtual to
 * guest-physical addresses, for 4- and 5-level, PAE and 32-bit paging with large pages.
 *
 * The saved page tables of a Xen PV guest hold pseudo-physical frames, so the same walk works on them.
 */

export type PagingMode = "none" | "legacy" | "pae" | "long";

/** How one vCPU translates, at the moment it was saved. */
export interface Paging {
  readonly mode: PagingMode;
  /** 2 legacy, 3 PAE, 4 or 5 long mode. */
  readonly levels: number;
  /** Guest-physical address of the top table. */
  readonly root: number;
}

/** A run of virtual memory that is in one piece in guest-physical memory. */
export interface Mapping {
  readonly va: bigint;
  readonly gpa: number;
  readonly length: number;
}

const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const CR4_LA57 = 1n << 12n;
const EFER_LMA = 1n << 10n;

const PRESENT = 1;
const LARGE = 1 << 7;
const TWO_32 = 2 ** 32;
/** Bits 51–12 of an entry: where a table or page is. */
const FRAME_HIGH = 0xf_ffff;

/** How a vCPU with these registers translates addresses. */
export function pagingOf(registers: X86Registers): Paging {
  const { cr0 = 0n, cr3 = 0n, cr4 = 0n } = registers.control;
  if ((cr0 & CR0_PG) === 0n) return { mode: "none", levels: 0, root: 0 };
  const { efer } = registers.msrs;
  // without EFER (QEMU's and PV vCPUs' notes lack it) bit 13 of the code segment's flags says
  const long = efer === undefined ? isLong(registers) : (efer & EFER_LMA) !== 0n;
  if (long) return longMode(Number(cr3 & 0xf_ffff_ffff_f000n), (cr4 & CR4_LA57) !== 0n ? 5 : 4);
  const root = Number(cr3 & 0xffff_ffffn);
  if ((cr4 & CR4_PAE) !== 0n) return { mode: "pae", levels: 3, root: root - (root % 32) };
  return { mode: "legacy", levels: 2, root: root - (root % 4096) };
}

/** Long mode with its top table at `root`. */
export function longMode(root: number, levels: 4 | 5): Paging {
  return { mode: "long", levels, root };
}

const SEGMENT_L = 1 << 21;

function isLong(registers: X86Registers): boolean {
  const { cs } = registers.segments;
  if (cs !== undefined && (cs.flags & SEGMENT_L) !== 0) return true;
  return registers.general.rip > 0xffff_ffffn || registers.general.rsp > 0xffff_ffffn;
}

/** One level: how far its index is in an address, how many bits it has, bytes of an entry. */
interface Level {
  readonly shift: number;
  readonly bits: number;
  readonly entry: 4 | 8;
  /** An entry may map a page of 2^shift bytes itself. */
  readonly large: boolean;
}

/** Levels from the top down. */
function levelsOf(paging: Paging): readonly Level[] {
  if (paging.mode === "legacy") {
    return [
      { shift: 22, bits: 10, entry: 4, large: true },
      { shift: 12, bits: 10, entry: 4, large: false },
    ];
  }
  if (paging.mode === "pae") {
    return [
      { shift: 30, bits: 2, entry: 8, large: false },
      { shift: 21, bits: 9, entry: 8, large: true },
      { shift: 12, bits: 9, entry: 8, large: false },
    ];
  }
  return Array.from({ length: paging.levels }, (_, i) => {
    const shift = 12 + 9 * (paging.levels - 1 - i);
    return { shift, bits: 9, entry: 8, large: shift === 21 || shift === 30 };
  });
}

/** What an entry says: nothing there, the next table, or a page. */
interface Entry {
  readonly gpa: number;
  readonly isPage: boolean;
}

function decodeEntry(view: DataView, at: number, level: Level, isLast: boolean): Entry | undefined {
  const low = view.getUint32(at, true);
  if ((low & PRESENT) === 0) return undefined;
  const isPage = isLast || (level.large && (low & LARGE) !== 0);
  const frame = (low & 0xffff_f000) >>> 0;
  if (level.entry === 4) {
    // bits 20–13 of a 4 MiB page's entry are its address bits 39–32
    const gpa = isPage && !isLast ? ((low >>> 13) & 0xff) * TWO_32 + ((low & 0xffc0_0000) >>> 0) : frame;
    return { gpa, isPage };
  }
  const gpa = (view.getUint32(at + 4, true) & FRAME_HIGH) * TWO_32 + frame;
  return { gpa: isPage ? gpa - (gpa % 2 ** level.shift) : gpa, isPage };
}

/** What page tables say of a virtual address: where it is, or that the 2^`unmapped` bytes around it are nowhere. */
export type Translation = { readonly gpa: number } | { readonly unmapped: number };

/** Looks a virtual address up in page tables; undefined where one of them is absent from memory. */
export function lookUp(
  memory: PhysicalMemory,
  paging: Paging,
  va: bigint,
): MaybePromise<Translation | undefined> {
  if (paging.mode === "none") return { gpa: Number(va & 0xffff_ffffn) };
  const levels = levelsOf(paging);
  const raw = new Uint8Array(8);
  const view = viewOf(raw);
  const step = (depth: number, table: number): MaybePromise<Translation | undefined> => {
    const level = levels[depth];
    if (level === undefined) return undefined;
    const index = Number((va >> BigInt(level.shift)) & ((1n << BigInt(level.bits)) - 1n));
    const field = level.entry === 8 ? raw : raw.subarray(0, 4);
    const go = (n: number): MaybePromise<Translation | undefined> => {
      if (n < field.length) return undefined;
      const entry = decodeEntry(view, 0, level, depth === levels.length - 1);
      if (entry === undefined) return { unmapped: level.shift };
      if (!entry.isPage) return step(depth + 1, entry.gpa);
      return { gpa: entry.gpa + Number(va & ((1n << BigInt(level.shift)) - 1n)) };
    };
    const result = memory.read(table + index * level.entry, field);
    return result instanceof Promise ? result.then(go) : go(result);
  };
  return step(0, paging.root);
}

const placeOf = (found: Translation | undefined): number | undefined =>
  found !== undefined && "gpa" in found ? found.gpa : undefined;

/** The guest-physical address of a virtual one; undefined where nothing is mapped or a table is absent. */
export function translate(
  memory: PhysicalMemory,
  paging: Paging,
  va: bigint,
): MaybePromise<number | undefined> {
  const found = lookUp(memory, paging, va);
  return found instanceof Promise ? found.then(placeOf) : placeOf(found);
}

/** Fills `into` from a virtual address on; returns how many bytes could be read. */
export async function readVirtual(
  memory: PhysicalMemory,
  paging: Paging,
  va: bigint,
  into: Uint8Array,
): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const at = va + BigInt(done);
    const gpa = await translate(memory, paging, at);
    if (gpa === undefined) break;
    const part = Math.min(4096 - (gpa % 4096), into.length - done);
    const n = await memory.read(gpa, into.subarray(done, done + part));
    done += n;
    if (n < part) break;
  }
  return done;
}

/** Tables read in one walk over an address range unless told: more than any real range of kernel text has, so that loops end. */
const MOST_TABLES = 2200;

/**
 * Mapped runs of virtual memory in [start, end), ascending, joined where they are contiguous in both spaces.
 * Tables that are absent map nothing.
 * @param most tables that are read
 */
export async function mappings(
  memory: PhysicalMemory,
  paging: Paging,
  start: bigint,
  end: bigint,
  most = MOST_TABLES,
): Promise<Mapping[]> {
  const levels = levelsOf(paging);
  const found: { va: bigint; gpa: number; length: number }[] = [];
  let tables = 0;

  const add = (va: bigint, gpa: number, length: number): void => {
    const last = found.at(-1);
    if (
      last !== undefined &&
      last.va + BigInt(last.length) === va &&
      last.gpa + last.length === gpa &&
      Number.isSafeInteger(last.length + length)
    ) {
      last.length += length;
    } else {
      found.push({ va, gpa, length });
    }
  };

  const walk = async (depth: number, table: number, base: bigint): Promise<void> => {
    const level = levels[depth];
    tables += 1;
    if (level === undefined || tables > most) return;
    const raw = new Uint8Array(2 ** level.bits * level.entry);
    const n = await memory.read(table, raw);
    const view = viewOf(raw);
    const span = 1n << BigInt(level.shift);
    for (let index = 0; (index + 1) * level.entry <= n; index += 1) {
      const entry = decodeEntry(view, index * level.entry, level, depth === levels.length - 1);
      if (entry === undefined) continue;
      const va = canonical(base + BigInt(index) * span, paging);
      if (va + span <= start || va >= end) continue;
      if (!entry.isPage) {
        await walk(depth + 1, entry.gpa, base + BigInt(index) * span);
        continue;
      }
      const from = va < start ? start : va;
      const to = va + span > end ? end : va + span;
      add(from, entry.gpa + Number(from - va), Number(to - from));
    }
  };
  if (paging.mode !== "none") await walk(0, paging.root, 0n);
  return found;
}

/** Extends the top bit of a long-mode address, as the CPU demands. */
function canonical(va: bigint, paging: Paging): bigint {
  if (paging.mode !== "long") return va;
  const bits = BigInt(12 + 9 * paging.levels);
  return (va >> (bits - 1n)) & 1n ? BigInt.asUintN(64, va | (-1n << bits)) : va;
}
