import type { MaybePromise } from "../../io/byte-source.js";
import type { PhysicalMemory } from "../memory.js";
import type { Translation } from "./walk.js";

/** Bytes of a page of the tables. */
export type Granule = 4096 | 16384 | 65536;

export const isGranule = (size: number): size is Granule => size === 4096 || size === 16384 || size === 65536;

/** Translation tables of aarch64 (Arm ARM, VMSAv8-64), of the upper or the lower half of virtual memory. */
export interface Aarch64Paging {
  /** Guest-physical address of the top table. */
  readonly root: number;
  readonly granule: Granule;
  /** Bits of an address that are translated. */
  readonly bits: number;
}

const VALID = 1;
/** At any level but the last: a table rather than a block. */
const TABLE = 2;
const TOP_BYTE = 0xff00_0000_0000_0000n;

/** Translation of addresses by one set of tables. */
export interface Aarch64Tables {
  /** Looks an address up; undefined where a table is absent from the memory. */
  lookUp(va: bigint): MaybePromise<Translation | undefined>;
  /** The address as the tables know it: without tags in unused bits. */
  canonical(va: bigint): bigint;
}

/** Page tables that walk `paging`. */
export function aarch64Tables(memory: Pick<PhysicalMemory, "read">, paging: Aarch64Paging): Aarch64Tables {
  const shift = Math.log2(paging.granule);
  const stride = shift - 3;
  const levels = Math.max(1, Math.ceil((paging.bits - shift) / stride));
  // 52-bit addresses: bits 9–8 of an entry with pages of 4 and 16 KiB, 15–12 with those of 64 KiB
  const isWide = paging.bits > 48;
  const frameOf = (entry: bigint): number => {
    if (paging.granule === 65536) return Number((entry & 0xffff_ffff_0000n) | ((entry & 0xf000n) << 36n));
    const low = entry & (isWide ? 0x3_ffff_ffff_f000n : 0xffff_ffff_f000n);
    return Number(isWide ? low | ((entry & 0x300n) << 42n) : low);
  };
  const step = (va: bigint, depth: number, table: number): MaybePromise<Translation | undefined> => {
    const raw = new Uint8Array(8);
    const at = shift + stride * (levels - 1 - depth);
    const width = depth === 0 ? paging.bits - at : stride;
    const index = Number((va >> BigInt(at)) & ((1n << BigInt(width)) - 1n));
    const go = (n: number): MaybePromise<Translation | undefined> => {
      if (n < 8) return undefined;
      const entry = new DataView(raw.buffer).getBigUint64(0, true);
      const kind = Number(entry & 3n);
      const isLast = depth === levels - 1;
      if ((kind & VALID) === 0 || (isLast && kind !== (VALID | TABLE))) return { unmapped: at };
      const base = frameOf(entry);
      if (!isLast && (kind & TABLE) !== 0) return step(va, depth + 1, base - (base % paging.granule));
      const span = 2 ** at;
      return { gpa: base - (base % span) + Number(va & ((1n << BigInt(at)) - 1n)) };
    };
    const result = memory.read(table + index * 8, raw);
    return result instanceof Promise ? result.then(go) : go(result);
  };
  return {
    lookUp: (va) => step(va, 0, paging.root),
    // the top byte may hold a tag; bit 55 selects the half
    canonical: (va) => ((va >> 55n) & 1n ? va | TOP_BYTE : va & ~TOP_BYTE),
  };
}
