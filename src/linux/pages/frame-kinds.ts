import type { Kernel } from "../kernel.js";
import { hexNumberEntry } from "../kernel-tables.js";
import type { KernelObject } from "../object.js";

/** Uses of a page that its `struct page` is marked with. */
export type MarkedUse = "slab" | "table" | "buddy";

/** Bits of `page_type` that are on where a page has a use, and the mark of free blocks, before the types had an enumeration. */
const BITS_BASE = 0xf000_0000;
const BUDDY_BIT = 0x80;
/** The same since they have. */
const TYPES_BASE = 0x8000_0000;
/** Bits of `page_type` below the number of the use. */
const USE_SHIFT = 24;
const NAMES: Readonly<Record<MarkedUse, readonly [string, string]>> = {
  slab: ["PGTY_slab", "PG_slab"],
  table: ["PGTY_table", "PG_table"],
  buddy: ["PGTY_buddy", "PG_buddy"],
};

/**
 * How a kernel marks what a page is used for: by a number in the upper byte of `page_type` since Linux 6.12, before by a bit
 * of it that is off, slabs by a flag of their own before 6.10 (Linux, include/linux/page-flags.h).
 */
export class FrameKinds {
  readonly #tests: Readonly<Record<MarkedUse, (page: KernelObject) => boolean>>;
  readonly #reserved: bigint;

  constructor(kernel: Kernel) {
    const valuesOf = (name: string): ReadonlyMap<string, bigint> =>
      new Map(
        kernel.types
          ?.find("enum", name)
          ?.enumerators()
          .map(({ name: key, value }) => [key, value]),
      );
    const kinds = valuesOf("pagetype");
    const flags = valuesOf("pageflags");
    const bit = (name: string): bigint => {
      const known = flags.get(name) ?? hexNumberEntry(kernel.info, `NUMBER(${name})`);
      return known === undefined || known < 0n || known > 63n ? 0n : 1n << known;
    };
    const typeOf = (page: KernelObject): number => (page.numberOf("page_type", "_mapcount") ?? -1) >>> 0;
    const byBit =
      (base: number, mark: number) =>
      (page: KernelObject): boolean =>
        (typeOf(page) & (base | mark)) >>> 0 === base;
    const byFlag =
      (mark: bigint) =>
      (page: KernelObject): boolean =>
        (page.pointer("flags") & mark) !== 0n;
    const test = (use: MarkedUse): ((page: KernelObject) => boolean) => {
      const [number, name] = NAMES[use];
      const byNumber = kinds.get(number);
      if (byNumber !== undefined) return (page) => typeOf(page) >>> USE_SHIFT === Number(byNumber & 0xffn);
      const inverted = kinds.get(name);
      if (inverted !== undefined) return byBit(TYPES_BASE, Number(inverted & 0x7fff_ffffn));
      if (use === "buddy") return byBit(BITS_BASE, BUDDY_BIT);
      if (use === "table") return byBit(BITS_BASE, tableBit(kernel));
      const slab = hexNumberEntry(kernel.info, "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)");
      return slab === undefined ? byFlag(bit("PG_slab")) : byBit(BITS_BASE, Number(~slab & 0xfff_ffffn));
    };
    this.#tests = { slab: test("slab"), table: test("table"), buddy: test("buddy") };
    this.#reserved = bit("PG_reserved");
  }

  /** Whether a page is marked for a use. @throws AbsentError where its `struct page` isn't whole in the input */
  is(use: MarkedUse, page: KernelObject): boolean {
    return this.#tests[use](page);
  }

  /** Whether the kernel's allocators never had the page. @throws AbsentError */
  isReserved(page: KernelObject): boolean {
    return (page.pointer("flags") & this.#reserved) !== 0n;
  }
}

/** The mark of page tables, which Linux 5.11 moved by one bit. */
function tableBit(kernel: Kernel): number {
  const [, major = "", minor = ""] = /^(\d+)\.(\d+)/.exec(kernel.release ?? "") ?? [];
  return Number(major) * 1000 + Number(minor) < 5011 ? 0x400 : 0x200;
}
