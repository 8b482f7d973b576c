import type { Kernel } from "../kernel.js";
import { hexNumberEntry, symbolEntry } from "../kernel-tables.js";
import { readU64 } from "../read.js";
import { absent, LINUX_RULES } from "../rules.js";

/** A section whose pages are described. */
const HAS_MEM_MAP = 2n;
/** Marks of a section are in the low bits of its pointer, which is to whole pages. */
const MARKS = 0xfffn;
/** Pages of the largest page that is made of others: 16 GiB of 4 KiB. */
const MOST_TOGETHER = 1 << 22;

/**
 * The kernel's table of page frames, one `struct page` for each, by sections of memory as VMCOREINFO describes them
 * (Linux, mm/sparse.c, Documentation/admin-guide/kdump/vmcoreinfo.rst).
 */
export class FrameTable {
  /** Bytes of a page. */
  readonly pageSize: number;
  readonly #kernel: Kernel;
  readonly #sections: bigint;
  /** Entries of the table of sections. */
  readonly #length: number;
  /** Bytes of a section's description, and of a `struct page`. */
  readonly #sectionSize: number;
  readonly #entrySize: number;
  readonly #mapOffset: bigint;
  readonly #framesPerSection: number;
  /** Sections in one part of the table; 0: the table is in one part. */
  readonly #perRoot: number;
  /** Address of the entry of frame 0, by section; undefined for sections that are not described. */
  readonly #bases = new Map<number, bigint | undefined>();

  /** @throws AbsentError where VMCOREINFO doesn't describe the table */
  constructor(kernel: Kernel) {
    const number = (key: string): number => {
      const value = Number(hexNumberEntry(kernel.info, key) ?? -1n);
      if (value >= 0 && value < 2 ** 32) return value;
      throw absent(
        LINUX_RULES.noVmcoreInfo,
        `VMCOREINFO doesn't describe the kernel's page frames: it has no ${key}`,
      );
    };
    this.#kernel = kernel;
    this.pageSize = Math.max(4096, number("PAGESIZE"));
    this.#sections = symbolEntry(kernel.info, "mem_section") ?? 0n;
    this.#length = number("LENGTH(mem_section)");
    this.#sectionSize = Math.max(1, number("SIZE(mem_section)"));
    this.#mapOffset = BigInt(number("OFFSET(mem_section.section_mem_map)"));
    this.#entrySize = Math.max(1, number("SIZE(page)"));
    this.#framesPerSection = Math.max(1, 2 ** number("NUMBER(SECTION_SIZE_BITS)") / this.pageSize);
    const perRoot = Math.floor(this.pageSize / this.#sectionSize);
    const sections = 2 ** (number("NUMBER(MAX_PHYSMEM_BITS)") - number("NUMBER(SECTION_SIZE_BITS)"));
    this.#perRoot = this.#length === Math.ceil(sections / perRoot) ? perRoot : 0;
  }

  /** Address of the `struct page` of a frame; undefined where the kernel has none for it, or it isn't in the input. */
  async entryOf(frame: number): Promise<bigint | undefined> {
    const section = Math.floor(frame / this.#framesPerSection);
    let base = this.#bases.get(section);
    if (base === undefined && !this.#bases.has(section)) {
      base = await this.#baseOf(section);
      this.#bases.set(section, base);
    }
    return base === undefined ? undefined : BigInt.asUintN(64, base + BigInt(frame * this.#entrySize));
  }

  async #baseOf(section: number): Promise<bigint | undefined> {
    const { space } = this.#kernel;
    let part = this.#sections;
    let index = section;
    if (this.#perRoot > 0) {
      const root = Math.floor(section / this.#perRoot);
      if (root >= this.#length) return undefined;
      part = (await readU64(space, part + BigInt(8 * root))) ?? 0n;
      index = section % this.#perRoot;
    } else if (section >= this.#length) return undefined;
    if (part === 0n) return undefined;
    const map = await readU64(space, part + BigInt(index * this.#sectionSize) + this.#mapOffset);
    return map === undefined || (map & HAS_MEM_MAP) === 0n ? undefined : map & ~MARKS;
  }

  /** How many frames an entry is before that of `frame`; undefined where it is no entry of one nearby. */
  framesBefore(entry: bigint, head: bigint): number | undefined {
    const bytes = Number(BigInt.asIntN(64, entry - head));
    const frames = bytes / this.#entrySize;
    return Number.isInteger(frames) && frames > 0 && frames <= MOST_TOGETHER ? frames : undefined;
  }
}
