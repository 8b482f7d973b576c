import { AbsentError, FormatError } from "../../io/errors.js";
import type { Kernel } from "../kernel.js";
import { mapleEntries } from "../maple-tree.js";
import type { KernelObject } from "../object.js";
import { findMember } from "../types.js";

/** A mapping of a process; addresses are the process's, `end` exclusive. */
export interface UserMapping {
  readonly start: bigint;
  readonly end: bigint;
  /** Path of the file that is mapped, as the process sees it; undefined for anonymous memory. */
  readonly path?: string;
  /** Bytes from the file's start to `start`. */
  readonly fileOffset?: bigint;
}

/** Mappings that are looked through. */
const MOST_MAPPINGS = 1 << 17;
/** Directories of a path, and file systems mounted one in another. */
const MOST_NAMES = 128;
const MOST_MOUNTS = 32;
const PAGE = 4096n;

/**
 * The mapping of a process that holds an address; undefined where it has none or its list of them can't be read.
 * @param mm address of the process's `mm_struct`
 */
export async function userMapping(
  kernel: Kernel,
  mm: bigint,
  address: bigint,
): Promise<UserMapping | undefined> {
  if (mm === 0n) return undefined;
  try {
    const area = await areaAt(kernel, await kernel.load("mm_struct", mm), address);
    return area === undefined ? undefined : await describe(kernel, area);
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}

/** The `vm_area_struct` that holds an address: in a maple tree since Linux 6.1, in a red-black tree before. */
async function areaAt(kernel: Kernel, mm: KernelObject, address: bigint): Promise<KernelObject | undefined> {
  if (mm.has("mm_mt.ma_root")) {
    let left = MOST_MAPPINGS;
    for await (const { first, last, value } of mapleEntries(kernel, mm.pointer("mm_mt.ma_root"))) {
      if (address >= first && address <= last && value !== 0n) return kernel.load("vm_area_struct", value);
      left -= 1;
      if (left === 0 || first > address) return undefined;
    }
    return undefined;
  }
  const link = findMember(kernel.struct("vm_area_struct"), "vm_rb");
  if (link === undefined || !mm.has("mm_rb.rb_node")) return undefined;
  let node = mm.pointer("mm_rb.rb_node");
  // a tree of 2^64 nodes is not deeper
  for (let depth = 0; depth < 128 && node !== 0n; depth += 1) {
    const area = await kernel.load("vm_area_struct", node - BigInt(link.bitOffset >>> 3));
    if (address >= area.pointer("vm_end")) node = area.pointer("vm_rb.rb_right");
    else if (address >= area.pointer("vm_start")) return area;
    else node = area.pointer("vm_rb.rb_left");
  }
  return undefined;
}

async function describe(kernel: Kernel, area: KernelObject): Promise<UserMapping> {
  const start = area.pointer("vm_start");
  const end = area.pointer("vm_end");
  const file = area.pointer("vm_file");
  if (file === 0n) return { start, end };
  const opened = await kernel.load("file", file);
  const path = await pathOf(kernel, opened.pointer("f_path.mnt"), opened.pointer("f_path.dentry"));
  return { start, end, ...(path === undefined ? {} : { path }), fileOffset: area.bigint("vm_pgoff") * PAGE };
}

/** A path from the root of the file systems down; undefined where a name can't be read. */
async function pathOf(kernel: Kernel, mount: bigint, dentry: bigint): Promise<string | undefined> {
  const inMount = findMember(kernel.struct("mount"), "mnt");
  if (inMount === undefined) return undefined;
  const names: string[] = [];
  let at = dentry;
  let here = await kernel.load("mount", mount - BigInt(inMount.bitOffset >>> 3));
  let mounts = 0;
  while (names.length < MOST_NAMES) {
    if (at === here.pointer("mnt.mnt_root")) {
      const parent = here.pointer("mnt_parent");
      mounts += 1;
      if (parent === here.address || parent === 0n || mounts > MOST_MOUNTS)
        return `/${names.reverse().join("/")}`;
      at = here.pointer("mnt_mountpoint");
      here = await kernel.load("mount", parent);
      continue;
    }
    const entry = await kernel.load("dentry", at);
    const parent = entry.pointer("d_parent");
    const name = await kernel.string(entry.pointer("d_name.name"), 256);
    // files without a directory: shared memory, what was deleted with its file system
    if (parent === at) return names.length === 0 ? name : `/${names.reverse().join("/")}`;
    names.push(name);
    at = parent;
  }
  return undefined;
}
