import { AbsentError } from "../findings/errors.js";
import { fileName } from "./file-name.js";
import type { Kernel } from "./kernel.js";
import type { KernelObject } from "./object.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";
import type { Task } from "./tasks.js";

/** An open file of a process. */
export interface OpenFile {
  /** File descriptor. */
  readonly fd: number;
  /** Address of its struct file. */
  readonly file: bigint;
  /** As the process's mount namespace names it; `socket:[N]`, `pipe:[N]`, `anon_inode:…` for what has no place in a tree. */
  readonly path?: string;
  readonly inode?: number;
  readonly kind?: FileKind;
  /** Where the next read or write begins, in bytes. */
  readonly position?: number;
  /** Flags of open(2), as the kernel keeps them. */
  readonly flags?: number;
}

/** Kind of a file, from its mode. */
export type FileKind = "file" | "directory" | "link" | "character" | "block" | "pipe" | "socket" | "other";

const KINDS: ReadonlyMap<number, FileKind> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o120000, "link"],
  [0o020000, "character"],
  [0o060000, "block"],
  [0o010000, "pipe"],
  [0o140000, "socket"],
]);
const KIND_BITS = 0o170000;

/** Descriptors of one process: what the kernel allows at most (fs.nr_open's default). */
const MOST_FILES = 1 << 20;
/** Descriptors that are read at a time. */
const STEP = 4096;

/** Addresses of a process's open files by descriptor, ascending; files that can't be read are still named here. */
export async function* fileAddresses(
  kernel: Kernel,
  task: Task,
): AsyncGenerator<{ readonly fd: number; readonly file: bigint }> {
  if (task.object.pointer("files") === 0n) return;
  const files = await task.object.follow("files");
  const table = await files.follow("fdt");
  const most = table.number("max_fds");
  if (most > MOST_FILES) {
    kernel.note(LINUX_RULES.badStructure, `process ${task.pid} has a table of ${most} descriptors`);
    return;
  }
  const start = table.pointer("fd");
  for (let first = 0; first < most; first += STEP) {
    const count = Math.min(STEP, most - first);
    const bytes = await readUpTo(kernel.space, start + BigInt(first * 8), count * 8);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i * 8 + 8 <= bytes.length; i += 1) {
      const file = view.getBigUint64(i * 8, true);
      if (file !== 0n) yield { fd: first + i, file };
    }
    if (bytes.length === count * 8) continue;
    const why = await kernel.space.whyUnreadable(start + BigInt(first * 8 + bytes.length));
    kernel.note(
      LINUX_RULES.memory,
      `descriptors of process ${task.pid} from ${first} on are missing: ${why}`,
    );
    return;
  }
}

/**
 * Open files of a process by descriptor. What can't be read of a file is noted and left out of its entry.
 *
 * @throws AbsentError when types or the process's table of files are missing.
 */
export async function* openFiles(kernel: Kernel, task: Task): AsyncGenerator<OpenFile> {
  for await (const { fd, file } of fileAddresses(kernel, task)) {
    try {
      yield await describe(kernel, fd, await kernel.load("file", file));
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      kernel.note(LINUX_RULES.memory, `file ${fd} of process ${task.pid} is not known: ${error.message}`);
      yield { fd, file };
    }
  }
}

async function describe(kernel: Kernel, fd: number, file: KernelObject): Promise<OpenFile> {
  const inode = file.pointer("f_inode") === 0n ? undefined : await file.follow("f_inode");
  const number = inode?.number("i_ino");
  const kind = inode === undefined ? undefined : (KINDS.get(inode.number("i_mode") & KIND_BITS) ?? "other");
  return {
    fd,
    file: file.address,
    path: await fileName(kernel, file, number),
    ...(number === undefined ? {} : { inode: number }),
    ...(kind === undefined ? {} : { kind }),
    position: file.number("f_pos"),
    flags: file.number("f_flags"),
  };
}
