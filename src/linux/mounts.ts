import { AbsentError } from "../findings/errors.js";
import { pathBelow, type PathRoot } from "./file-path.js";
import type { Kernel } from "./kernel.js";
import { listEntries } from "./lists.js";
import type { KernelObject } from "./object.js";
import { treeEntries } from "./rbtree.js";
import { LINUX_RULES } from "./rules.js";

/** A mounted file system. */
export interface Mount {
  /** Number of the mount, as /proc/PID/mountinfo shows it. */
  readonly id: number;
  /** What is mounted: a device, or a name that the file system was given. */
  readonly source: string;
  /** Where, as its own mount namespace shows it. */
  readonly target: string;
  /** `ext4`, `fuse.sshfs`. */
  readonly type: string;
  readonly readOnly: boolean;
  /** Address of its struct mount. */
  readonly address: bigint;
}

/** MNT_READONLY and SB_RDONLY. */
const MOUNT_READ_ONLY = 0x40;
const FILE_SYSTEM_READ_ONLY = 1n;
const NO_NAME = "none";

/**
 * Mounts of a mount namespace, in its own order. What can't be read is noted and left out.
 *
 * @param namespace address of the mnt_namespace.
 * @param root a process's root folder: mounts below it alone, as that process sees them.
 * @throws AbsentError when types or the namespace are missing.
 */
export async function* listMounts(kernel: Kernel, namespace: bigint, root?: PathRoot): AsyncGenerator<Mount> {
  for await (const address of mountAddresses(kernel, namespace)) {
    try {
      const mount = await describe(kernel, await kernel.load("mount", address), root);
      if (mount !== undefined) yield mount;
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      kernel.note(LINUX_RULES.memory, `a mount is left out: ${error.message}`);
    }
  }
}

/**
 * Mounts as a process sees them, in the order of its mount namespace.
 *
 * @param task its task_struct.
 * @throws AbsentError when types are missing, or the process has neither namespaces nor a root folder any more.
 */
export async function* mountsOf(kernel: Kernel, task: KernelObject): AsyncGenerator<Mount> {
  const namespaces = await task.follow("nsproxy");
  const folders = await task.follow("fs");
  const root = { mount: folders.pointer("root.mnt"), dentry: folders.pointer("root.dentry") };
  yield* listMounts(kernel, namespaces.pointer("mnt_ns"), root);
}

async function* mountAddresses(kernel: Kernel, address: bigint): AsyncGenerator<bigint> {
  const namespace = await kernel.load("mnt_namespace", address);
  // a tree since Linux 6.8
  if (namespace.has("mounts.rb_node"))
    yield* treeEntries(kernel, namespace.pointer("mounts.rb_node"), "mount", "mnt_node");
  else yield* listEntries(kernel, namespace.addressOf("list"), "mount", "mnt_list");
}

async function describe(
  kernel: Kernel,
  mount: KernelObject,
  root: PathRoot | undefined,
): Promise<Mount | undefined> {
  // cursors of those who read the list are in it too
  if (mount.pointer("mnt.mnt_sb") === 0n) return undefined;
  const place = { mount: mount.addressOf("mnt"), dentry: mount.pointer("mnt.mnt_root") };
  const target = await pathBelow(kernel, place, root);
  if (target === undefined) return undefined;
  const superBlock = await mount.follow("mnt.mnt_sb");
  const type = await superBlock.follow("s_type");
  const name = await kernel.string(type.pointer("name"), 64);
  const subtype = superBlock.pointer("s_subtype");
  const source = mount.pointer("mnt_devname");
  return {
    id: mount.number("mnt_id"),
    source: source === 0n ? NO_NAME : await kernel.string(source),
    target,
    type: subtype === 0n ? name : `${name}.${await kernel.string(subtype, 64)}`,
    readOnly:
      (mount.number("mnt.mnt_flags") & MOUNT_READ_ONLY) !== 0 ||
      (superBlock.pointer("s_flags") & FILE_SYSTEM_READ_ONLY) !== 0n,
    address: mount.address,
  };
}
