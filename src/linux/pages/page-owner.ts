import { AbsentError, FormatError } from "../../findings/errors.js";
import { memoryTotals, PAGE_SIZE } from "../../guest/memory.js";
import type { Kernel } from "../kernel.js";
import { printPlace } from "../symbols.js";
import { listTasks, type Task } from "../tasks.js";
import { mappingAt } from "../user-mappings.js";
import { mappedRuns, spaceOf } from "../where.js";
import { type CachedFile, CachedFiles } from "./file-pages.js";
import { type Frame, type FrameUse, Frames } from "./frame.js";
import { type KernelArea, kernelAreas } from "./kernel-areas.js";
import { type SlabPlace, Slabs } from "./slab.js";
import { WantedFrames } from "./wanted-frames.js";

/** What a page is: what the other members of a PageOwner are about. */
export type OwnerKind =
  /** The kernel's image or a module: `symbol`. */
  | "kernel"
  /** Variables of one CPU: `cpu`, and `symbol` for those with names. */
  | "per-cpu"
  /** Kernel stack of a task: `pid`, `comm`, `offset`. */
  | "stack"
  /** Objects of the kernel: `slab`. */
  | "slab"
  /** A table of page tables. */
  | "page-table"
  /** Memory of a process, of no file: `pid`, `comm`, `mapping`. */
  | "process"
  /** The page cache: `file` and `offset`; `pid`, `comm` and `mapping` where a process has it mapped. */
  | "file"
  /** Memory of processes that no process seems to have. */
  | "anonymous"
  /** Memory from vmalloc(): `symbol` is who asked for it. */
  | "vmalloc"
  /** Of no use at the moment; the contents are left from an earlier one. */
  | "free"
  /** Never given to the kernel's allocators. */
  | "reserved";

/** Whose a byte of physical memory is, as the kernel's tables say. */
export interface PageOwner {
  readonly kind: OwnerKind;
  /** The virtual address at which the owner sees it: a process or, where there is none, the kernel. */
  readonly address?: bigint;
  /** A symbol of the kernel's image or of a module: `linux_banner+0x4/0xb0`. */
  readonly symbol?: string;
  readonly cpu?: number;
  /** A process that has it mapped (others may have it as well), or the task whose stack it is. */
  readonly pid?: number;
  readonly comm?: string;
  /** The mapping's file, or its permissions alone. */
  readonly mapping?: string;
  readonly slab?: SlabPlace;
  readonly file?: CachedFile;
  /** Bytes from the start of the file, of the stack, or of the CPU's memory. */
  readonly offset?: number;
}

/** Where something of the kernel has a page. */
interface Claim {
  /** Address of the page's first byte. */
  readonly va: bigint;
  readonly area: KernelArea;
}

interface ProcessClaim {
  readonly va: bigint;
  readonly task: Task;
}

/** What is known of the pages that are asked for, by their index. */
interface Claims {
  readonly kernel: Map<number, Claim>;
  /** What each is used for: to hold what describes it would take most of the memory. */
  readonly uses: Map<number, FrameUse>;
  readonly processes: Map<number, ProcessClaim>;
}

const FEWEST_STEPS = 1 << 21;
/** Processes share pages: of libraries, after fork(). */
const STEPS_A_PAGE = 8;

/** Says whose pages are: by the areas of the kernel, its table of page frames, and the page tables of processes. */
export class PageOwners {
  readonly #kernel: Kernel;
  readonly #slabs: Slabs;
  readonly #files: CachedFiles;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#slabs = new Slabs(kernel);
    this.#files = new CachedFiles(kernel);
  }

  /** The owners of the bytes at guest-physical addresses, in their order; undefined where none is known. */
  async ownersOf(addresses: readonly number[]): Promise<readonly (PageOwner | undefined)[]> {
    const owners: (PageOwner | undefined)[] = [];
    for await (const owner of this.eachOwnerOf(addresses)) owners.push(owner);
    return owners;
  }

  /** As `ownersOf`, one after the other: page tables are gone through once for all of them. */
  async *eachOwnerOf(
    addresses: readonly number[],
  ): AsyncGenerator<PageOwner | undefined, undefined, undefined> {
    const wanted = new WantedFrames(addresses);
    const frames = await tolerant(async () => new Frames(this.#kernel));
    const claims = await this.#collect(wanted, frames);
    let last = -1;
    let frame: Frame | undefined;
    for (const gpa of addresses) {
      const index = wanted.indexOf(gpa);
      // several in one page come together
      if (index !== last)
        frame = frames === undefined || !claims.uses.has(index) ? undefined : await frameOf(frames, gpa);
      last = index;
      yield await this.#ownerOf(gpa, index, claims, frame);
    }
  }

  /**
   * A process as the owner of virtual addresses of its own, with the file where the page cache has one there.
   *
   * @throws AbsentError where the process's page tables are not in the input
   */
  async processOwners(task: Task, addresses: readonly bigint[]): Promise<readonly PageOwner[]> {
    const space = await spaceOf(this.#kernel, task);
    const frames = await tolerant(async () => new Frames(this.#kernel));
    const owners: PageOwner[] = [];
    for (const address of addresses) {
      const gpa = await space.translate(address);
      const known =
        frames === undefined || gpa === undefined
          ? undefined
          : await tolerant(async () => this.#fileOwner(frames, gpa));
      owners.push({ kind: "process", ...known, address, ...(await this.#processFacts(task, address)) });
    }
    return owners;
  }

  async #fileOwner(frames: Frames, gpa: number): Promise<PageOwner | undefined> {
    const frame = await frames.at(Math.floor(gpa / frames.table.pageSize));
    return frame?.use === "file" ? this.#frameOwner(frame, gpa) : undefined;
  }

  async #processFacts(
    { pid, comm, mm }: Task,
    address: bigint,
  ): Promise<Pick<PageOwner, "pid" | "comm" | "mapping">> {
    const mapping = await tolerant(async () => mappingAt(this.#kernel, mm, address));
    const name = mapping === undefined ? {} : { mapping: mapping.file ?? `anonymous ${mapping.permissions}` };
    return { pid, comm, ...name };
  }

  async #collect(wanted: WantedFrames, frames: Frames | undefined): Promise<Claims> {
    const claims: Claims = { kernel: new Map(), uses: new Map(), processes: new Map() };
    const steps = this.#steps();
    if (frames !== undefined) await this.#collectUses(wanted, claims, frames);
    for await (const area of kernelAreas(this.#kernel)) {
      if (claims.kernel.size === wanted.numbers.length) break;
      for await (const run of this.#kernel.space.mapped(area.start, area.end, steps))
        for (const { index, va } of wanted.in(run)) {
          const use = claims.uses.get(index) ?? "reserved";
          if (!claims.kernel.has(index) && !(area.fromBoot && use !== "reserved"))
            claims.kernel.set(index, { va, area });
        }
    }
    await tolerant(async () => this.#collectProcesses(wanted, claims));
    return claims;
  }

  /** Looks into page tables for one walk over all of them: no real guest's take as many. */
  #steps(): { left: number } {
    const { present, zero } = memoryTotals(this.#kernel.guest.memory);
    return { left: FEWEST_STEPS + (STEPS_A_PAGE * (present + zero)) / PAGE_SIZE };
  }

  async #collectUses(wanted: WantedFrames, claims: Claims, frames: Frames): Promise<void> {
    for (const [index, number] of wanted.numbers.entries()) {
      const frame = await frameOf(frames, number * PAGE_SIZE);
      if (frame !== undefined) claims.uses.set(index, frame.use);
    }
  }

  async #collectProcesses(wanted: WantedFrames, claims: Claims): Promise<void> {
    const isOpen = (index: number): boolean => {
      const use = claims.uses.get(index);
      return !claims.kernel.has(index) && (use === undefined || !KERNEL_USES.has(use));
    };
    if (!wanted.numbers.some((_, index) => isOpen(index))) return;
    const steps = this.#steps();
    for await (const task of listTasks(this.#kernel)) {
      if (task.mm === 0n || task.kthread) continue;
      await tolerant(async () => {
        for await (const run of mappedRuns(this.#kernel, task, steps))
          for (const { index, va } of wanted.in(run))
            if (!claims.processes.has(index) && isOpen(index)) claims.processes.set(index, { va, task });
      });
    }
  }

  async #ownerOf(
    gpa: number,
    index: number,
    claims: Claims,
    frame: Frame | undefined,
  ): Promise<PageOwner | undefined> {
    const kernel = claims.kernel.get(index);
    const within = gpa % PAGE_SIZE;
    if (kernel !== undefined && kernel.area.use.kind !== "vmalloc") return this.#areaOwner(kernel, within);
    const known = frame === undefined ? undefined : await tolerant(async () => this.#frameOwner(frame, gpa));
    if (
      known !== undefined &&
      known.kind !== "anonymous" &&
      known.kind !== "reserved" &&
      known.kind !== "file"
    )
      return known;
    const process = claims.processes.get(index);
    if (process !== undefined) {
      const address = process.va + BigInt(within);
      const facts = await this.#processFacts(process.task, address);
      return known?.kind === "file"
        ? { ...known, address, ...facts }
        : { kind: "process", address, ...facts };
    }
    if (kernel !== undefined && known?.kind !== "file") return this.#areaOwner(kernel, within);
    return known;
  }

  #areaOwner({ va, area: { start, use } }: Claim, within: number): PageOwner {
    const address = va + BigInt(within);
    const symbolAt = (at: bigint): { readonly symbol?: string } => {
      const place = this.#kernel.place(at);
      return place === undefined ? {} : { symbol: printPlace(place) };
    };
    switch (use.kind) {
      case "symbol":
        return { kind: "kernel", address, ...symbolAt(address) };
      case "per-cpu": {
        const end = this.#kernel.symbol("__per_cpu_end");
        const at = BigInt.asUintN(64, address - use.offset);
        const symbol = end !== undefined && at < end ? symbolAt(at) : {};
        return { kind: "per-cpu", address, cpu: use.cpu, ...symbol, offset: Number(address - start) };
      }
      case "stack": {
        const { pid, comm } = use.task;
        return { kind: "stack", address, pid, comm, offset: Number(address - start) };
      }
      case "vmalloc":
        return { kind: "vmalloc", address, ...symbolAt(use.caller) };
    }
  }

  async #frameOwner({ use, head, first, pageSize }: Frame, gpa: number): Promise<PageOwner | undefined> {
    const within = gpa - first * pageSize;
    switch (use) {
      case "slab":
        return { kind: "slab", ...this.#direct(gpa), slab: await this.#slabs.place(head, within) };
      case "table":
        return { kind: "page-table", ...this.#direct(gpa) };
      case "file": {
        const file = await this.#files.fileOf(head.pointer("mapping"));
        if (file === undefined) return undefined;
        return { kind: "file", file, offset: fileIndex(head) * pageSize + within };
      }
      case "other":
        return undefined;
      default:
        return { kind: use };
    }
  }

  /** The address of a byte in the kernel's map of all memory. */
  #direct(gpa: number): { readonly address?: bigint } {
    const start = this.#kernel.guest.facts.kernelLayout?.directMap;
    return start === undefined ? {} : { address: BigInt.asUintN(64, start + BigInt(gpa)) };
  }
}

/** Uses of pages that no process has. */
const KERNEL_USES: ReadonlySet<string> = new Set(["slab", "table", "free"]);

/** Which page of a file the first of some is. */
const fileIndex = (page: Frame["head"]): number => page.numberOf("index", "__folio_index") ?? 0;

/** The page that holds a guest-physical address; undefined where it isn't described. */
const frameOf = (frames: Frames, gpa: number): Promise<Frame | undefined> =>
  tolerant(async () => frames.at(Math.floor(gpa / frames.table.pageSize)));

/** What is missing of one part leaves the others. */
async function tolerant<T>(part: () => Promise<T>): Promise<T | undefined> {
  try {
    return await part();
  } catch (error) {
    if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
    return undefined;
  }
}
