import type { GuestImage } from "./image.js";
import type { SystemSummary } from "./kernel/system-summary.js";
import type { DebugFileAccess } from "../elf/debug-file.js";
import type { ByteSource } from "../io/byte-source.js";
import type { Unpackers } from "../io/codecs/unpack-batch.js";
import type { OpenSpool } from "../io/spool.js";

/** Bytes of an input's head that detection looks at. */
export const HEAD_SIZE = 4096;

/** Where a block of RAM is in the guest: `address` is guest-physical, in bytes, a multiple of a page. */
export interface BlockAddress {
  readonly block: string;
  readonly address: number;
}

/** What only inputs of QEMU need: its cores and processes, its migration streams, libvirt's saves. */
export interface QemuOptions {
  /** Name of the guest's architecture; default: by the program. */
  readonly arch?: string | undefined;
  /** Reaches debug files; without it, `OpenOptions.openFile` opens what is named. */
  readonly debugFiles?: DebugFileAccess | undefined;
  /** Path of the program; default: the path that the core names. */
  readonly exe?: string | undefined;
  /** Path of the program's separate debug file. */
  readonly debugFile?: string | undefined;
  /** Roots of debug file trees. */
  readonly debugDirs?: readonly string[] | undefined;
  /** Read memory without debug information of the program, by its command line: only where guest memory proves the addresses. */
  readonly withoutDebugInfo?: boolean | undefined;
  /** Files of memory backends whose contents a core or a migration stream lacks: paths by the backend's id or the RAM block's name. */
  readonly backing?: Readonly<Record<string, string>> | undefined;
  /** Leave out ranges that the flat view marks non-volatile (NVDIMMs), which QEMU's own dumps contain. */
  readonly excludeNonvolatile?: boolean | undefined;
  /** Take unplugged blocks of virtio-mem devices as well, as QEMU's gdb script does. */
  readonly keepUnplugged?: boolean | undefined;
  /** RAM blocks whose address a saved state, or a core without debug information, doesn't hold. */
  readonly map?: readonly BlockAddress[] | undefined;
  /** Captured connections beside a migration stream (multifd channels, a cpr channel): paths. */
  readonly channels?: readonly string[] | undefined;
  /** Offset in the input at which a migration stream begins; default: found. */
  readonly offset?: number | undefined;
  /** RAM blocks (all, or those named) one after another from address 0, without the machine's memory map. */
  readonly blocks?: true | readonly string[] | undefined;
}

/** What only kdumps need. */
export interface KdumpOptions {
  /** Paths of the other parts of a split dump; default: files beside it whose names differ in a number. */
  readonly parts?: readonly string[] | undefined;
}

/** What only qcow2 disk images need. */
export interface Qcow2Options {
  /** Id or name of the snapshot whose guest is meant; default: the only one with a guest's state (verify: all). */
  readonly snapshot?: string | undefined;
}

/** A part of guest memory that a file holds as it is. */
export interface RawPiece {
  readonly path: string;
  /** Guest-physical address of its first byte: a multiple of a page. */
  readonly address: number;
  /** Offset in the file of its first byte; default 0. */
  readonly offset?: number | undefined;
  /** Bytes; default: up to the end of the file. */
  readonly length?: number | undefined;
}

/** What only raw memory needs; of a LiME or AVML dump, whose headers name no architecture, `arch`. */
export interface RawOptions {
  /** Guest-physical address of the input's first byte that counts; default 0. */
  readonly base?: number | undefined;
  /** Offset in the input of that byte, and bytes; default: all of it. */
  readonly offset?: number | undefined;
  readonly length?: number | undefined;
  /** Memory in other files. */
  readonly pieces?: readonly RawPiece[] | undefined;
  /** Name of the guest's architecture; default: by the kernel in memory. */
  readonly arch?: string | undefined;
}

/**
 * Which VMCOREINFO a guest gets: what memory holds, whatever the input brings (`search`), none, or a text of
 * `KEY=VALUE` lines from elsewhere.
 */
export type VmcoreInfoChoice = "search" | "none" | { readonly text: string };

/**
 * Whether a kernel's VMCOREINFO is looked for when a guest is opened. True: in all of its memory, if need be. False:
 * only where the vCPUs' page tables lead; withVmcoreInfo() looks when the kernel is asked for. `later`: as false, and
 * where that left it open extractGuest() looks, while it reads all of memory anyway.
 */
export type KernelSearch = boolean | "later";

/**
 * How an input is opened, whatever its format. What concerns one format only is in a member of its own: plain data in
 * types of this level, so that callers need not know the format beforehand and formats need not know each other.
 */
export interface OpenOptions {
  /** Take what is intact of a damaged or incomplete input. */
  readonly partial?: boolean;
  /** Called with the bytes done, of `total` where that is known. */
  readonly progress?: (done: number, total: number | undefined, phase: string) => void;
  /** Look for the kernel's VMCOREINFO in memory where the file brings none; default true. */
  readonly findKernel?: KernelSearch;
  /** Opens a file that the input names or that is beside it (split parts, debug info, backing files). */
  readonly openFile?: (path: string) => Promise<ByteSource>;
  /** Describes the system that a guest ran, for inspections: `summarizeLinux`. Without it they leave that out. */
  readonly describeSystem?: (guest: GuestImage) => Promise<SystemSummary | undefined>;
  /** Scratch storage for contents that can't be read from the input again; default: memory. */
  readonly openSpool?: OpenSpool;
  /** Threads that unpack compressed pages (kdumps): `unpackWorkers` of `guestscope/node`; default: the caller's thread does. */
  readonly unpackers?: Unpackers | undefined;
  /** Default: the input's own VMCOREINFO if it fits the kernel in memory, else the copy in memory. */
  readonly vmcoreInfo?: VmcoreInfoChoice;
  readonly qemu?: QemuOptions;
  readonly kdump?: KdumpOptions;
  readonly qcow2?: Qcow2Options;
  readonly raw?: RawOptions;
}

/** How an input is verified. */
export interface VerifyOptions {
  readonly qcow2?: Qcow2Options;
  readonly qemu?: Pick<QemuOptions, "channels" | "offset">;
  /** Opens a file that the options name. */
  readonly openFile?: (path: string) => Promise<ByteSource>;
  /** Called with the bytes done, of `total` where that is known. */
  readonly progress?: (done: number, total: number | undefined) => void;
}
