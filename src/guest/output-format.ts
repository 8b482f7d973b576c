import type { ByteSink } from "../io/byte-sink.js";
import type { PackSettings, PoolFactory } from "../io/codecs/page-batch.js";
import type { GuestImage } from "./image.js";
import type { MemoryRange } from "./memory.js";

/** Names of the output formats. */
export type WriterId = "elf" | "kdump" | "raw" | "lime" | "xen-core";

/** Page compressions by name; which of them a format can write is in its `compressions`. */
export type PageCompression = "none" | "zlib" | "lzo" | "snappy" | "zstd";

/** Guest-physical addresses in bytes, `end` exclusive. */
export interface AddressRange {
  readonly start: number;
  readonly end: number;
}

/** How a vmcore is written. */
export interface WriteOptions {
  /** Write only this part of guest-physical memory. */
  readonly range?: AddressRange;
  /** Page compression, for formats that compress. */
  readonly compress?: PageCompression;
  /** Level of that compression, as its library counts. */
  readonly level?: number;
  /** Worker threads, for formats that compress. */
  readonly threads?: number;
  /** Starts those threads, which need a platform: `pageWorkersAhead` of `guestscope/node`. Without it pages are packed in place. */
  readonly startPackers?: (settings: PackSettings, threads: number | undefined) => PoolFactory;
  /** Called now and then with the bytes of guest memory done, of how many. */
  readonly progress?: (done: number, total: number) => void;
  /**
   * Gives the guest with what was found in its memory while that was read, from end to end: for a writer that
   * `usesKernel` last, on a RandomSink. The guest that is written lacks it.
   */
  readonly afterMemory?: () => Promise<GuestImage>;
}

/** What a writer did, in bytes of guest memory. */
export interface WriteReport {
  /** Memory whose contents are in the output (all-zero pages among it count here when the source held them). */
  readonly present: number;
  /** Memory that the source knows to be zero. */
  readonly zero: number;
  /** Bytes the output lacks because the source lacks them. */
  readonly absent: number;
  /** `absent`, by region and reason. */
  readonly missing: readonly MemoryRange[];
  /** Bytes of the output, holes included. */
  readonly size: number;
}

/** Writes one kind of output. */
export interface VmcoreWriter {
  readonly id: WriterId;
  /** For people: `ELF vmcore`. */
  readonly title: string;
  /** True when the output can only be written to a RandomSink (a regular file). */
  readonly needsRandomAccess: boolean;
  /**
   * When it has to know the guest's VMCOREINFO: never; before memory (`first`, the default); or after it (`last`), by
   * `WriteOptions.afterMemory` where that is given.
   */
  readonly usesKernel?: "never" | "first" | "last";
  /**
   * Writes a whole dump. Absent memory is left out and reported, never written as zeros.
   * @throws UsageError when this guest has no form in the format, AbsentError when its source fails.
   */
  write(guest: GuestImage, sink: ByteSink, options: WriteOptions): Promise<WriteReport>;
}

/** An output format: what `extract` can write, and how. */
export interface OutputFormat {
  readonly id: WriterId;
  /** For people: `ELF vmcore`. */
  readonly title: string;
  /** File name extensions that choose it, with the dot, the usual one first. */
  readonly extensions: readonly string[];
  /** What beside memory it holds. */
  readonly holds: { readonly vcpus: boolean; readonly vmcoreInfo: boolean };
  /** Page compressions it can write; empty: contents are written as they are. */
  readonly compressions: readonly PageCompression[];
  /** Loads the writer, made ready for these options. */
  readonly load: (options: WriteOptions) => Promise<VmcoreWriter>;
}
