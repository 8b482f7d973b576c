import { PAGE_SIZE } from "../guest/memory.js";
import { type Gap, type MemorySpace, physicalSpace } from "../guest/memory-space.js";
import type { Translation } from "../guest/paging/walk.js";
import type { MaybePromise } from "../io/byte-source.js";
import type { CachedMemory } from "../guest/cached-memory.js";
import { hex } from "./rules.js";

/** Page tables of one kernel or process. */
export interface PageTables {
  /** Looks an address up; undefined where a table is absent from the input. */
  lookUp(va: bigint): MaybePromise<Translation | undefined>;
  /** The address as the tables know it: without tags in unused bits. */
  canonical(va: bigint): bigint;
}

/** A run of virtual memory that is contiguous in guest-physical memory too. */
export interface MappedRun {
  readonly va: bigint;
  readonly gpa: number;
  readonly length: number;
}

/** Translations kept. */
const MOST_TRANSLATIONS = 1 << 16;
/** Reads longer than this many bytes are made of whole runs of contiguous pages. */
const LONG_READ = 64 << 10;
const UNMAPPED = -1;
const TABLE_ABSENT = -2;
const MASK_64 = (1n << 64n) - 1n;

/** Virtual memory through page tables, with translations kept once found. */
export class AddressSpace implements MemorySpace {
  readonly memory: CachedMemory;
  readonly #tables: PageTables;
  /** Virtual page number → guest-physical address of the page, or UNMAPPED, TABLE_ABSENT. */
  readonly #translations = new Map<number, number>();

  constructor(memory: CachedMemory, tables: PageTables) {
    this.memory = memory;
    this.#tables = tables;
  }

  /** Guest-physical address of `va`; undefined where nothing is mapped or a table is absent. */
  translate(va: bigint): MaybePromise<number | undefined> {
    const address = this.#tables.canonical(va & MASK_64);
    const page = this.#page(address);
    const within = Number(address & 0xfffn);
    const place = (gpa: number): number | undefined => (gpa < 0 ? undefined : gpa + within);
    return page instanceof Promise ? page.then(place) : place(page);
  }

  #page(address: bigint): MaybePromise<number> {
    const number = Number(address >> 12n);
    const known = this.#translations.get(number);
    if (known !== undefined) return known;
    const keep = (found: Translation | undefined): number => {
      const gpa = found === undefined ? TABLE_ABSENT : "gpa" in found ? found.gpa : UNMAPPED;
      if (this.#translations.size >= MOST_TRANSLATIONS) this.#translations.clear();
      this.#translations.set(number, gpa);
      return gpa;
    };
    const found = this.#tables.lookUp((address >> 12n) << 12n);
    return found instanceof Promise ? found.then(keep) : keep(found);
  }

  /**
   * Fills `into` from virtual address `va` on. Returns how many bytes could be read: it stops before the first
   * byte that is not mapped or not in the input.
   */
  read(va: bigint, into: Uint8Array): MaybePromise<number> {
    if (into.length > LONG_READ) return this.#readLong(va, into);
    return this.#readOn(va, into, 0);
  }

  #readOn(va: bigint, into: Uint8Array, start: number): MaybePromise<number> {
    let done = start;
    while (done < into.length) {
      const gpa = this.translate(va + BigInt(done));
      if (gpa instanceof Promise) return gpa.then(() => this.#readOn(va, into, done));
      if (gpa === undefined) break;
      const part = Math.min(PAGE_SIZE - (gpa % PAGE_SIZE), into.length - done);
      const n = this.memory.read(gpa, part === into.length ? into : into.subarray(done, done + part));
      if (n instanceof Promise)
        return n.then((m) => (m < part ? done + m : this.#readOn(va, into, done + part)));
      done += n;
      if (n < part) break;
    }
    return done;
  }

  async #readLong(va: bigint, into: Uint8Array): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const gpa = await this.translate(va + BigInt(done));
      if (gpa === undefined) return done;
      let run = Math.min(PAGE_SIZE - (gpa % PAGE_SIZE), into.length - done);
      while (done + run < into.length) {
        const found = this.translate(va + BigInt(done + run));
        const next = found instanceof Promise ? await found : found;
        if (next !== gpa + run) break;
        run = Math.min(run + PAGE_SIZE, into.length - done);
      }
      const n = await this.memory.read(gpa, into.subarray(done, done + run));
      done += n;
      if (n < run) return done;
    }
    return done;
  }

  /** Why the byte at `va` can't be read, and where the next begins that may be. */
  async gapAt(va: bigint): Promise<Gap> {
    const found = await this.#tables.lookUp(this.#tables.canonical(va & MASK_64 & ~0xfffn));
    const end = ((va >> 12n) << 12n) + BigInt(PAGE_SIZE);
    if (found === undefined) return { end, why: "absent: a page table is not in the input" };
    if ("unmapped" in found) {
      const span = 1n << BigInt(found.unmapped);
      return { end: (va / span) * span + span, why: "not mapped" };
    }
    const { why } = await physicalSpace(this.memory).gapAt(BigInt(found.gpa));
    return { end, why };
  }

  /**
   * What is mapped of [start, end), ascending. Where a table is absent nothing is.
   *
   * @param steps looks into page tables that are left for this walk and others: without any it ends. Tables that are damaged may
   *   map, or leave empty, the same memory without end.
   */
  async *mapped(
    start: bigint,
    end: bigint,
    steps = { left: Number.POSITIVE_INFINITY },
  ): AsyncGenerator<MappedRun, void, undefined> {
    let run: { va: bigint; gpa: number; length: number } | undefined;
    for (let va = (start >> 12n) << 12n; va < end && steps.left > 0; ) {
      steps.left -= 1;
      const looked = this.#tables.lookUp(this.#tables.canonical(va & MASK_64));
      const found = looked instanceof Promise ? await looked : looked;
      if (found !== undefined && "gpa" in found) {
        if (run !== undefined && run.va + BigInt(run.length) === va && run.gpa + run.length === found.gpa)
          run.length += PAGE_SIZE;
        else {
          if (run !== undefined) yield run;
          run = { va, gpa: found.gpa, length: PAGE_SIZE };
        }
        va += BigInt(PAGE_SIZE);
        continue;
      }
      // a table that is absent stands for 2 MiB at least
      const span = 1n << BigInt(found === undefined ? 21 : found.unmapped);
      va = (va / span) * span + span;
    }
    if (run !== undefined) yield run;
  }

  /** Why nothing can be read at `va`, in a phrase. */
  async whyUnreadable(va: bigint): Promise<string> {
    const page = await this.#page(this.#tables.canonical(va & MASK_64));
    if (page === TABLE_ABSENT) return `a page table of ${hex(va)} is not in the input`;
    if (page === UNMAPPED) return `nothing is mapped at ${hex(va)}`;
    for (const range of this.memory.ranges()) {
      if (page < range.start || page >= range.end) continue;
      const reason = range.reason === undefined ? "" : ` (${range.reason.text})`;
      return `the page of ${hex(va)}, guest-physical ${hex(page)}, is ${range.presence}${reason}`;
    }
    return `the page of ${hex(va)}, guest-physical ${hex(page)}, is not in the input`;
  }
}
