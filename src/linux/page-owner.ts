import { AbsentError } from "../findings/errors.js";
import type { Kernel } from "./kernel.js";
import { listModules, useModuleSymbols } from "./modules.js";
import { printPlace } from "./symbols.js";
import { listTasks, type Task } from "./tasks.js";
import { mappingAt } from "./user-mappings.js";
import { mappedRuns } from "./where.js";

/** Whose a byte of physical memory is, as far as page tables say. */
export interface PageOwner {
  /** The virtual address at which the owner sees it. */
  readonly address: bigint;
  /** A symbol of the kernel's image or of a module: `linux_banner+0x4/0xb0`. */
  readonly symbol?: string;
  /** A process that has it mapped; others may have it as well. */
  readonly pid?: number;
  readonly comm?: string;
  /** The mapping's file, or its permissions alone. */
  readonly mapping?: string;
}

/** Pages remembered at most: 16 GiB of what processes have mapped. */
const MOST_PAGES = 4 << 20;
const MOST_IMAGE = 1n << 30n;

/** Who has a page mapped: processes by number, -1 for the kernel. */
interface Mapped {
  readonly task: number;
  readonly page: bigint;
}

/** Says whose pages are, from the page tables of the kernel, its modules and its processes. Built when first asked. */
export class PageOwners {
  readonly #kernel: Kernel;
  readonly #tasks: Task[] = [];
  #pages: Map<number, Mapped> | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** The owner of the byte at a guest-physical address; undefined where none is known. */
  async ownerOf(gpa: number): Promise<PageOwner | undefined> {
    const pages = (this.#pages ??= await this.#collect());
    const found = pages.get(Math.floor(gpa / 4096));
    if (found === undefined) return undefined;
    const address = BigInt.asUintN(64, (found.page << 12n) + BigInt(gpa % 4096));
    if (found.task < 0) {
      const place = this.#kernel.place(address);
      return place === undefined ? { address } : { address, symbol: printPlace(place) };
    }
    const task = this.#tasks[found.task];
    return task === undefined ? { address } : this.processOwner(task, address);
  }

  /** A process as the owner of a virtual address of its own. */
  async processOwner({ pid, comm, mm }: Task, address: bigint): Promise<PageOwner> {
    const mapping = await mappingAt(this.#kernel, mm, address).catch((error: unknown) => {
      if (error instanceof AbsentError) return undefined;
      throw error;
    });
    const name = mapping === undefined ? {} : { mapping: mapping.file ?? `anonymous ${mapping.permissions}` };
    return { address, pid, comm, ...name };
  }

  async #collect(): Promise<Map<number, Mapped>> {
    const kernel = this.#kernel;
    const pages = new Map<number, Mapped>();
    const add = (gpa: number, length: number, va: bigint, task: number): void => {
      for (let done = 0; done < length && pages.size < MOST_PAGES; done += 4096) {
        const frame = Math.floor((gpa + done) / 4096);
        // the kernel's own names come first, then the process that was met first
        if (!pages.has(frame)) pages.set(frame, { task, page: (va + BigInt(done)) >> 12n });
      }
    };
    const start = kernel.symbol("_text") ?? kernel.symbol("_stext");
    const end = kernel.symbol("_end");
    if (start !== undefined && end !== undefined && end > start && end - start < MOST_IMAGE)
      for await (const { va, gpa, length } of kernel.space.mapped(start, end)) add(gpa, length, va, -1);
    await this.#tolerant(async () => {
      await useModuleSymbols(kernel);
      for (const { ranges } of await listModules(kernel))
        for (const range of ranges)
          for await (const { va, gpa, length } of kernel.space.mapped(range.start, range.end))
            add(gpa, length, va, -1);
    });
    await this.#tolerant(async () => {
      for await (const task of listTasks(kernel)) {
        if (task.mm === 0n || task.kthread) continue;
        const number = this.#tasks.push(task) - 1;
        await this.#tolerant(async () => {
          for await (const { va, gpa, length } of mappedRuns(kernel, task)) add(gpa, length, va, number);
        });
      }
    });
    return pages;
  }

  /** What is missing of one part leaves the others. */
  async #tolerant(part: () => Promise<void>): Promise<void> {
    try {
      await part();
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
    }
  }
}
