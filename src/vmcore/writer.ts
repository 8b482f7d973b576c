import type { GuestImage } from "../guest/image.js";
import type { MemoryRange } from "../guest/memory.js";
import type { ByteSink } from "../io/byte-sink.js";

export type WriterId = "elf" | "kdump" | "raw" | "lime" | "xen-core";

export interface AddressRange {
  /** Guest-physical, bytes. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

export interface WriteOptions {
  /** Write only this part of guest-physical memory. */
  readonly range?: AddressRange;
  /** Page compression by name, for formats that compress: `zlib`, `lzo`, `snappy`, `zstd`, `none`. */
  readonly compress?: string;
  /** Level of that compression, as its library counts. */
  readonly level?: number;
  /** Worker threads, for formats that compress. */
  readonly threads?: number;
  /** Told now and then how many bytes of guest memory are done, of how many. */
  readonly progress?: (done: number, total: number) => void;
}

/** What a writer did, in bytes of guest memory. */
export interface WriteReport {
  /** Memory whose contents are in the output (all-zero pages among it count here when the source held them). */
  readonly present: number;
  /** Memory that the source knows to be zero. */
  readonly zero: number;
  /** Memory that the output lacks because the source does, */
  readonly absent: number;
  /** by region and reason. */
  readonly missing: readonly MemoryRange[];
  /** Bytes of the output, holes included. */
  readonly size: number;
}

/** One kind of output. */
export interface VmcoreWriter {
  readonly id: WriterId;
  /** For people: `ELF vmcore`. */
  readonly title: string;
  /** True when the output can only be written to a RandomSink (a regular file). */
  readonly needsRandomAccess: boolean;
  /**
   * Writes a whole dump. Absent memory is left out and reported, never written as zeros.
   * @throws UsageError when this guest has no form in the format, AbsentError when its source fails.
   */
  write(guest: GuestImage, sink: ByteSink, options: WriteOptions): Promise<WriteReport>;
}

const EVERYTHING: AddressRange = { start: 0, end: Number.MAX_SAFE_INTEGER };

/** The ranges of a guest's memory cut to what was asked for, and their totals. */
export interface Selection {
  /** Readable memory: present and zero, ascending, joined where neighbours touch. */
  readonly runs: readonly AddressRange[];
  readonly missing: readonly MemoryRange[];
  readonly present: number;
  readonly zero: number;
  readonly absent: number;
}

/** Cuts a guest's memory to `range` and joins what can be read into runs. */
export function selectMemory(guest: GuestImage, range: AddressRange = EVERYTHING): Selection {
  const runs: { start: number; end: number }[] = [];
  const missing: MemoryRange[] = [];
  const totals = { present: 0, zero: 0, absent: 0 };
  for (const whole of guest.memory.ranges()) {
    const start = Math.max(whole.start, range.start);
    const end = Math.min(whole.end, range.end);
    // where the guest itself has no memory nothing is missing
    if (start >= end || whole.unpopulated === true) continue;
    totals[whole.presence] += end - start;
    if (whole.presence === "absent") {
      missing.push({ ...whole, start, end });
      continue;
    }
    const last = runs.at(-1);
    if (last?.end === start) last.end = end;
    else runs.push({ start, end });
  }
  return { runs, missing, ...totals };
}
