import type { Kernel } from "../kernel.js";
import { hexNumberEntry } from "../kernel-tables.js";
import type { KernelObject } from "../object.js";
import { FrameKinds } from "./frame-kinds.js";
import { FrameTable } from "./frame-table.js";

/** What a page is used for, as the kernel's own description of it says. */
export type FrameUse = "slab" | "table" | "free" | "file" | "anonymous" | "reserved" | "other";

/** A page of physical memory. */
export interface Frame {
  readonly use: FrameUse;
  /** Its `struct page`, or that of the first of the pages that it is one of. */
  readonly head: KernelObject;
  /** Number of the first of these pages. */
  readonly first: number;
  /** Bytes of a page. */
  readonly pageSize: number;
}

/** Low bits of a page's `mapping`: anonymous memory, or none of a file at all. */
const MAPPING_MARKS = 3n;
const ANONYMOUS = 1n;
/** A mask instead of a pointer has no more bits off than this. */
const LARGEST_MASK_HOLE = 1n << 26n;
const ALL = (1n << 64n) - 1n;
/** Orders of free blocks looked for at most. */
const MOST_ORDERS = 20;

/** Describes pages of physical memory by the kernel's table of page frames. */
export class Frames {
  readonly table: FrameTable;
  readonly #kernel: Kernel;
  readonly #kinds: FrameKinds;
  readonly #orders: number;

  /** @throws AbsentError where the kernel's types or VMCOREINFO don't describe the table */
  constructor(kernel: Kernel) {
    kernel.struct("page");
    this.#kernel = kernel;
    this.table = new FrameTable(kernel);
    this.#kinds = new FrameKinds(kernel);
    this.#orders = Math.min(
      MOST_ORDERS,
      Number(hexNumberEntry(kernel.info, "LENGTH(zone.free_area)") ?? 11n),
    );
  }

  /** The page of that number. @throws AbsentError where what describes it isn't whole in the input */
  async at(frame: number): Promise<Frame | undefined> {
    const page = await this.#load(frame);
    if (page === undefined) return undefined;
    const before = this.#framesBefore(page);
    const head = before === 0 ? page : await this.#load(frame - before);
    if (head === undefined) return undefined;
    const use = await this.#useOf(frame, page, head);
    return { use, head, first: frame - before, pageSize: this.table.pageSize };
  }

  async #load(frame: number): Promise<KernelObject | undefined> {
    const entry = frame < 0 ? undefined : await this.table.entryOf(frame);
    return entry === undefined ? undefined : this.#kernel.load("page", entry);
  }

  /** How many pages are before this one in those that it is one of; 0 for the first of them, and a page by itself. */
  #framesBefore(page: KernelObject): number {
    const member = page.which("compound_head", "compound_info");
    const link = member === undefined ? 0n : page.pointer(member);
    if ((link & 1n) === 0n) return 0;
    // since Linux 7 what leads to the first may be a mask of its address
    const head = (ALL ^ link) < LARGEST_MASK_HOLE ? page.address & link : link - 1n;
    return this.table.framesBefore(page.address, head) ?? 0;
  }

  async #useOf(frame: number, page: KernelObject, head: KernelObject): Promise<FrameUse> {
    if (this.#kinds.is("slab", head)) return "slab";
    if (this.#kinds.is("table", page)) return "table";
    if (await this.#isFree(frame, page)) return "free";
    if (this.#kinds.isReserved(page)) return "reserved";
    const mapping = head.pointer("mapping");
    // other uses keep other things there
    if (mapping >> 63n === 0n) return "other";
    if ((mapping & ANONYMOUS) !== 0n) return "anonymous";
    return (mapping & MAPPING_MARKS) === 0n ? "file" : "other";
  }

  /** Whether a page is in a free block, whose first page is the only one that is marked. */
  async #isFree(frame: number, page: KernelObject): Promise<boolean> {
    if (page.number("_refcount") !== 0) return false;
    for (let order = 0; order < this.#orders; order += 1) {
      const first = frame - (frame % 2 ** order);
      const start = first === frame ? page : await this.#load(first);
      if (start !== undefined && this.#kinds.is("buddy", start)) return start.number("private") >= order;
    }
    return false;
  }
}
