import type { Kernel } from "./kernel.js";
import { offsetOf } from "./lists.js";
import type { KernelObject } from "./object.js";

/** Names of a path that are followed: the kernel itself makes none longer than 4096 bytes. */
const MOST_NAMES = 256;
const LONGEST_NAME = 255;

/** A place in the tree of files, such as a process's root folder. */
export interface PathRoot {
  /** Address of its struct vfsmount; 0: none, paths are those within its file system. */
  readonly mount: bigint;
  readonly dentry: bigint;
}

/**
 * The path of an open file (`struct path`: a dentry and its mount), through the mounts above it, as its own mount
 * namespace shows it.
 *
 * @throws AbsentError when types or memory are missing.
 */
export async function pathOf(kernel: Kernel, path: KernelObject): Promise<string> {
  return pathFrom(kernel, { mount: path.pointer("mnt"), dentry: path.pointer("dentry") });
}

/**
 * The path of a dentry, through its mount and those above it.
 *
 * @throws AbsentError when types or memory are missing.
 */
export async function pathFrom(kernel: Kernel, place: PathRoot): Promise<string> {
  return (await pathBelow(kernel, place, undefined)) ?? "";
}

/**
 * As `pathFrom`, from a process's root folder on; undefined for what is not below it.
 *
 * @throws AbsentError when types or memory are missing.
 */
export async function pathBelow(
  kernel: Kernel,
  place: PathRoot,
  root: PathRoot | undefined,
): Promise<string | undefined> {
  const names: string[] = [];
  let { dentry } = place;
  const mountOffset = offsetOf(kernel, "mount", "mnt");
  let mount = place.mount === 0n ? 0n : place.mount - mountOffset;
  for (let left = MOST_NAMES; left > 0 && dentry !== 0n; left -= 1) {
    if (root !== undefined && dentry === root.dentry && mount + mountOffset === root.mount)
      return `/${names.join("/")}`;
    const above = mount === 0n ? undefined : await kernel.load("mount", mount);
    if (above !== undefined && above.pointer("mnt.mnt_root") === dentry) {
      const parent = above.pointer("mnt_parent");
      if (parent === mount || parent === 0n) return root === undefined ? `/${names.join("/")}` : undefined;
      dentry = above.pointer("mnt_mountpoint");
      mount = parent;
      continue;
    }
    const entry = await kernel.load("dentry", dentry);
    const parent = entry.pointer("d_parent");
    const name = await dentryName(kernel, entry);
    // files without a place in a tree: pipes, sockets, memory
    if (parent === dentry)
      return names.length > 0 ? `/${names.join("/")}` : name.startsWith("/") ? name : `/${name}`;
    names.unshift(name);
    dentry = parent;
  }
  return `.../${names.join("/")}`;
}

async function dentryName(kernel: Kernel, entry: KernelObject): Promise<string> {
  return kernel.string(entry.pointer("d_name.name"), LONGEST_NAME + 1);
}
