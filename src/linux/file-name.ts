import { pathOf } from "./file-path.js";
import type { Kernel } from "./kernel.js";
import { decodeText, type KernelObject } from "./object.js";
import { readU64, readUpTo } from "./read.js";

const DELETED = " (deleted)";

/**
 * An open file's name as /proc shows it: its path, with ` (deleted)` after that of a deleted one, or what stands for files
 * of the kernel's own file systems.
 *
 * @param inode the file's inode number, where it is known.
 * @throws AbsentError when types or memory are missing.
 */
export async function fileName(
  kernel: Kernel,
  file: KernelObject,
  inode: number | undefined,
): Promise<string> {
  const path = file.inner("f_path");
  const dentry = await kernel.load("dentry", path.pointer("dentry"));
  const operations = dentry.pointer("d_op");
  const isRoot = dentry.pointer("d_parent") === dentry.address;
  if (!isRoot) return `${await pathOf(kernel, path)}${isUnhashed(dentry) ? DELETED : ""}`;
  if (operations === 0n) return pathOf(kernel, path);
  // names that are made when they are asked for
  const naming = await readU64(kernel.space, operations + nameOffset(kernel));
  if (naming === undefined || naming === 0n) return pathOf(kernel, path);
  const superBlock = await dentry.follow("d_sb");
  const type = await superBlock.follow("s_type");
  const fileSystem = await kernel.string(type.pointer("name"), 64);
  if (fileSystem === "sockfs") return `socket:[${inode ?? "?"}]`;
  if (fileSystem === "pipefs") return `pipe:[${inode ?? "?"}]`;
  const name = decodeText(await readUpTo(kernel.space, dentry.pointer("d_name.name"), 256));
  if (fileSystem === "anon_inodefs") return `anon_inode:${name}`;
  if (fileSystem === "nsfs") return `${name === "" ? "ns" : name}:[${inode ?? "?"}]`;
  return `/${name}${DELETED}`;
}

/** Whether a dentry was taken out of the kernel's hash of names: its file was deleted. */
function isUnhashed(dentry: KernelObject): boolean {
  return dentry.has("d_hash.pprev") && dentry.pointer("d_hash.pprev") === 0n;
}

function nameOffset(kernel: Kernel): bigint {
  const member = kernel
    .struct("dentry_operations")
    .members()
    .find(({ name }) => name === "d_dname");
  if (member === undefined) throw kernel.noMember("dentry_operations", "d_dname");
  return BigInt(member.bitOffset >>> 3);
}
