import { AbsentError } from "../findings/errors.js";
import { fileName } from "./file-name.js";
import type { Kernel } from "./kernel.js";
import { MOST_ENTRIES, Visited } from "./lists.js";
import { mapleEntries } from "./maple-tree.js";
import type { KernelObject } from "./object.js";
import { hex, LINUX_RULES } from "./rules.js";

/** A mapping of a process's virtual memory, as /proc/PID/maps shows it; `end` exclusive. */
export interface UserMapping {
  readonly start: bigint;
  readonly end: bigint;
  /** `r-xp`. */
  readonly permissions: string;
  /** Bytes into the file. */
  readonly offset: number;
  /** The file's path; undefined for memory without a file. */
  readonly file?: string;
}

/** Flags of vm_area_struct, in the order they are printed. */
const FLAGS = [
  [1n, "r", "-"],
  [2n, "w", "-"],
  [4n, "x", "-"],
  [8n, "s", "p"],
] as const;

/**
 * The mappings of a process, ascending. Damage is noted.
 *
 * @param mm address of its mm_struct.
 * @throws AbsentError when types or the mm_struct are missing.
 */
export async function* listMappings(kernel: Kernel, mm: bigint): AsyncGenerator<UserMapping> {
  for await (const vma of areas(kernel, mm)) yield describe(kernel, vma);
}

/** The mapping that holds an address of a process; undefined when none does. */
export async function mappingAt(
  kernel: Kernel,
  mm: bigint,
  address: bigint,
): Promise<UserMapping | undefined> {
  for await (const vma of areas(kernel, mm))
    if (address >= vma.pointer("vm_start") && address < vma.pointer("vm_end")) return describe(kernel, vma);
  return undefined;
}

/** The address ranges of a process's mappings, ascending, `end` exclusive, without the names of their files. */
export async function* mappedRanges(
  kernel: Kernel,
  mm: bigint,
): AsyncGenerator<{ readonly start: bigint; readonly end: bigint }> {
  for await (const vma of areas(kernel, mm))
    yield { start: vma.pointer("vm_start"), end: vma.pointer("vm_end") };
}

async function* areas(kernel: Kernel, address: bigint): AsyncGenerator<KernelObject> {
  const mm = await kernel.load("mm_struct", address);
  if (mm.has("mm_mt")) {
    for await (const { value } of mapleEntries(kernel, mm.pointer("mm_mt.ma_root"))) {
      const vma = await kernel.tryLoad("vm_area_struct", value);
      if (vma !== undefined) yield vma;
    }
    return;
  }
  // a list until Linux 6.0
  const visited = new Visited(kernel);
  for (let at = mm.pointer("mmap"); at !== 0n; ) {
    if (!(await visited.enter(at)) || visited.size > MOST_ENTRIES) {
      kernel.note(LINUX_RULES.badStructure, `the mappings of the mm_struct at ${hex(address)} run in a loop`);
      return;
    }
    const vma = await kernel.tryLoad("vm_area_struct", at);
    if (vma === undefined) return;
    yield vma;
    at = vma.pointer("vm_next");
  }
}

async function describe(kernel: Kernel, vma: KernelObject): Promise<UserMapping> {
  const flags = vma.pointer("vm_flags");
  const file = await fileOf(kernel, vma);
  return {
    start: vma.pointer("vm_start"),
    end: vma.pointer("vm_end"),
    permissions: FLAGS.map(([flag, set, unset]) => ((flags & flag) === 0n ? unset : set)).join(""),
    offset: file === undefined ? 0 : vma.number("vm_pgoff") * Number(kernel.info.get("PAGESIZE") ?? 4096),
    ...(file === undefined ? {} : { file }),
  };
}

async function fileOf(kernel: Kernel, vma: KernelObject): Promise<string | undefined> {
  if (vma.pointer("vm_file") === 0n) return undefined;
  try {
    const file = await vma.follow("vm_file");
    const inode = file.pointer("f_inode") === 0n ? undefined : await file.follow("f_inode");
    return await fileName(kernel, file, inode?.number("i_ino"));
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.memory, `the name of a mapped file is missing: ${error.message}`);
    return undefined;
  }
}
