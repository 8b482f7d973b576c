import { AbsentError } from "../../findings/errors.js";
import { pathFrom } from "../file-path.js";
import type { Kernel } from "../kernel.js";
import { offsetOf } from "../lists.js";
import type { KernelObject } from "../object.js";
import { readU64 } from "../read.js";
import { findMember } from "../types.js";

/** A file whose contents are in the page cache. */
export interface CachedFile {
  /** A path of it, where the kernel still has a name for it: through one of its mounts, if there is one. */
  readonly path?: string;
  readonly inode: number;
  /** `ext4`, `tmpfs`; `bdev` for a block device itself. */
  readonly fileSystem: string;
  /** What the file system calls its device; `MAJOR:MINOR` for a block device itself. */
  readonly device: string;
}

/** Files kept. */
const MOST_FILES = 4096;
/** Mounts of a file system, names of a path that are looked at. */
const MOST_MOUNTS = 64;
const MOST_NAMES = 256;
/** Bits of a device number below its major number. */
const MINOR_BITS = 20n;

/** Says whose contents pages of the page cache hold. */
export class CachedFiles {
  readonly #kernel: Kernel;
  readonly #files = new Map<bigint, CachedFile | undefined>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /**
   * The file of an `address_space`; undefined where it is none of a file.
   *
   * @throws AbsentError where types are missing, or what describes the file is not in the input
   */
  async fileOf(mapping: bigint): Promise<CachedFile | undefined> {
    if (this.#files.has(mapping)) return this.#files.get(mapping);
    const file = await this.#read(mapping);
    if (this.#files.size < MOST_FILES) this.#files.set(mapping, file);
    return file;
  }

  async #read(mapping: bigint): Promise<CachedFile | undefined> {
    const kernel = this.#kernel;
    const host = await readU64(kernel.space, mapping + offsetOf(kernel, "address_space", "host"));
    if (host === undefined || host === 0n) return undefined;
    const inode = await kernel.load("inode", host);
    if (inode.pointer("i_mapping") !== mapping && inode.addressOf("i_data") !== mapping) return undefined;
    const superBlock = await inode.follow("i_sb");
    const fileSystem = await kernel.string((await superBlock.follow("s_type")).pointer("name"), 64);
    const number = inode.pointer("i_rdev");
    const device =
      fileSystem === "bdev"
        ? `${number >> MINOR_BITS}:${number & ((1n << MINOR_BITS) - 1n)}`
        : superBlock.text("s_id");
    const path = fileSystem === "bdev" ? undefined : await this.#pathOf(inode, superBlock);
    return { ...(path === undefined ? {} : { path }), inode: inode.number("i_ino"), fileSystem, device };
  }

  /** A path of an inode: by the first of its names. */
  async #pathOf(inode: KernelObject, superBlock: KernelObject): Promise<string | undefined> {
    const kernel = this.#kernel;
    const link = inode.pointer("i_dentry.first");
    if (link === 0n) return undefined;
    const member = hasMember(kernel, "dentry", "d_u.d_alias") ? "d_u.d_alias" : "d_alias";
    const dentry = link - offsetOf(kernel, "dentry", member);
    try {
      const mount = await this.#mountAbove(dentry, superBlock);
      return await pathFrom(kernel, { dentry, mount: mount ?? 0n });
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      return undefined;
    }
  }

  /** Address of the `struct vfsmount` of a mount that shows a dentry, in a mount namespace if one does. */
  async #mountAbove(dentry: bigint, superBlock: KernelObject): Promise<bigint | undefined> {
    const kernel = this.#kernel;
    const above = new Set<bigint>();
    const parent = offsetOf(kernel, "dentry", "d_parent");
    for (let at = dentry; at !== 0n && !above.has(at) && above.size < MOST_NAMES; ) {
      above.add(at);
      at = (await readU64(kernel.space, at + parent)) ?? 0n;
    }
    let found: bigint | undefined;
    for await (const mount of mountsOf(kernel, superBlock)) {
      if (!above.has(mount.pointer("mnt.mnt_root"))) continue;
      found ??= mount.addressOf("mnt");
      // mounts of the kernel's own have no namespace, or an error number for one
      if (mount.pointer("mnt_ns") >> 12n !== 0n && mount.pointer("mnt_ns") >> 12n !== (1n << 52n) - 1n)
        return mount.addressOf("mnt");
    }
    return found;
  }
}

const hasMember = (kernel: Kernel, struct: string, member: string): boolean =>
  findMember(kernel.struct(struct), member) !== undefined;

/** Mounts of a file system: a list whose head is in its super block, since Linux 6.18 a chain of pointers. */
async function* mountsOf(kernel: Kernel, superBlock: KernelObject): AsyncGenerator<KernelObject> {
  const isChain = hasMember(kernel, "mount", "mnt_next_for_sb");
  const offset = isChain ? 0n : offsetOf(kernel, "mount", "mnt_instance");
  const head = superBlock.addressOf("s_mounts");
  let at = await readU64(kernel.space, head);
  for (let left = MOST_MOUNTS; left > 0 && at !== undefined && at !== 0n && at !== head; left -= 1) {
    const mount = await kernel.load("mount", at - offset);
    yield mount;
    at = isChain ? mount.pointer("mnt_next_for_sb") : mount.pointer("mnt_instance.next");
  }
}
