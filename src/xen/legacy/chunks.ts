import type { TmemPool } from "./tmem.js";
import type { GuestKind, ToolstackWidth } from "./layout.js";
import type { PfnSet } from "./pfn-set.js";
import type { PhysmapEntry } from "../libxl/write.js";

/** What every chunk knows of its place. */
interface Placed {
  /** Bytes from the start of the input. */
  readonly offset: number;
  /** Ordinal within the stream, from 0. */
  readonly index: number;
}

/** Contents that follow a chunk in the input: to be taken from the cursor before asking for the next chunk, or left. */
interface WithData {
  /** Bytes; undefined: up to the end of the input. */
  readonly dataLength: number | undefined;
  /** Offset of the first. */
  readonly dataOffset: number;
}

/** The header of an xl save file, before the stream. */
export interface XlHeaderChunk extends Placed {
  readonly kind: "xl-header";
  /** The header as it is in the stream, optional data included. */
  readonly bytes: Uint8Array;
  /** Whether the guest's configuration is JSON, not xl's own syntax. */
  readonly jsonConfig: boolean;
}

/** The stream's first words: they show its width and its kind of guest. */
export interface HeaderChunk extends Placed {
  readonly kind: "header";
  readonly width: ToolstackWidth;
  readonly guest: GuestKind;
  /** Highest pfn + 1. */
  readonly p2mSize: number;
}

/** Extended info and p2m frame list of a PV stream. */
export interface PvInfoChunk extends Placed {
  readonly kind: "pv-info";
  /** Bytes of a guest word, and page table levels. */
  readonly guestWidth: 4 | 8;
  readonly levels: 3 | 4;
  /** Bytes of a vCPU's context. */
  readonly contextSize: number;
  readonly extended: boolean;
  /** Bytes of a vCPU's XSAVE area; undefined: none in the stream. */
  readonly xsaveSize: number | undefined;
  /** Name of the last block of extended info that is of none of the known. */
  readonly unknownBlock: string | undefined;
  /** pfns that hold the guest's p2m table; undefined: the list is damaged. */
  readonly p2mFrames: Uint32Array | undefined;
}

/** A batch of pages: their entries, and contents unless these come compressed. */
export interface PagesChunk extends Placed, WithData {
  readonly kind: "pages";
  /** Bits 31–28 type, 27–0 pfn; those of type invalid are left in. Valid until the next chunk. */
  readonly entries: Uint32Array;
  /** Entries that have 4096 bytes each: they follow, or come compressed in later chunks. */
  readonly dataPages: number;
  readonly compressed: boolean;
  /** Sent again for comparison only. */
  readonly verify: boolean;
}

/** One HVM parameter. */
export interface ParameterChunk extends Placed {
  readonly kind: "parameter";
  readonly name: string;
  /** Index of the HVM parameter. */
  readonly parameter: number;
  readonly value: bigint;
}

/** State of the time stamp counter, as X86_TSC_INFO has it. */
export interface TscInfoChunk extends Placed {
  readonly kind: "tsc-info";
  readonly mode: number;
  readonly nsec: bigint;
  readonly khz: number;
  readonly incarnation: number;
}

/** Tail of an HVM guest: its magic pfns, then the HVM context as data. */
export interface HvmTailChunk extends Placed, WithData {
  readonly kind: "hvm-tail";
  readonly ioreqPfn: bigint;
  readonly bufferedIoreqPfn: bigint;
  readonly storePfn: bigint;
  /** Bytes of the HVM context. */
  readonly dataLength: number;
}

/** QEMU's state, which libxl appends to an HVM stream. */
export interface QemuChunk extends Placed, WithData {
  readonly kind: "qemu";
  readonly signature: string;
}

/** State of one vCPU; bytes are valid until the next chunk. */
export interface VcpuChunk extends Placed {
  readonly kind: "vcpu";
  readonly id: number;
  readonly context: Uint8Array;
  readonly extended: Uint8Array | undefined;
  readonly xsave: Uint8Array | undefined;
  readonly xsaveMask: bigint | undefined;
}

/** From here on pages are sent again, for comparison only. */
export interface VerifyModeChunk extends Placed {
  readonly kind: "verify-mode";
}

/** Pools of transcendent memory; their pages are passed over. */
export interface TmemChunk extends Placed {
  readonly kind: "tmem";
  readonly pools: readonly TmemPool[];
}

/** One piece of a legacy stream, in the order of the stream. */
export type LegacyChunk =
  | XlHeaderChunk
  | HeaderChunk
  | PvInfoChunk
  | PagesChunk
  | ParameterChunk
  | TscInfoChunk
  | HvmTailChunk
  | QemuChunk
  | VcpuChunk
  | VerifyModeChunk
  | (Placed & { readonly kind: "last-checkpoint" | "enable-compression" })
  | (Placed & { readonly kind: "vcpu-info"; readonly maxId: number; readonly online: readonly number[] })
  | TmemChunk
  | (Placed & { readonly kind: "tmem-invalidations"; readonly count: number })
  | (Placed & WithData & { readonly kind: "compressed-data"; readonly dataLength: number })
  | (Placed & { readonly kind: "toolstack"; readonly physmap: readonly PhysmapEntry[] })
  /** `vcpus` in the order of their state in the tail; `assumed`: the stream has no map. */
  | (Placed & { readonly kind: "end-of-body"; readonly vcpus: readonly number[]; readonly assumed: boolean })
  | (Placed & { readonly kind: "unmapped"; readonly pfns: PfnSet })
  | (Placed & { readonly kind: "shared-info"; readonly bytes: Uint8Array })
  /** The state so far is whole; `last`: nothing follows. */
  | (Placed & { readonly kind: "checkpoint"; readonly number: number; readonly last: boolean });
