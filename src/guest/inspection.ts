import type { Finding } from "../findings/finding.js";
import type { AbsentSummary } from "./absent.js";
import type { Software } from "./kernel/software.js";
import type { MemoryTotals } from "./memory.js";
import type { VcpuSummary } from "./vcpu.js";

/** Who the guest is. */
export interface GuestIdentity {
  readonly name?: string | undefined;
  readonly uuid?: string | undefined;
  readonly arch?: string | undefined;
  /** Hypervisor and version: `Xen 4.17`, `QEMU 7.2.22`. */
  readonly hypervisor?: string | undefined;
  /** `HVM`, `PV`, a machine type … */
  readonly type?: string | undefined;
}

/** Guest-physical memory as the input has it; sizes in bytes. */
export interface MemorySummary extends MemoryTotals {
  /** Memory that exists, whether its contents are here or not: ranges, `end` exclusive, ascending. */
  readonly regions: readonly { readonly start: number; readonly end: number }[];
  /** Regions beyond those listed. */
  readonly regionsLeftOut: number;
  /** Bytes that the input lacks, by reason. */
  readonly missing: readonly AbsentSummary[];
}

/**
 * What `inspect` says of an input, for programs: the same head for every format, the format's own facts in `details`.
 * `kind` says the schema of `details`.
 */
export interface GuestInspection<Kind extends string = string, Details extends object = object> {
  readonly schemaVersion: 2;
  readonly kind: Kind;
  /** Name of the input. */
  readonly source: string;
  /** For people, what the input is: `Xen migration stream, libxc version 3`. */
  readonly origin: string;
  readonly guest?: GuestIdentity | undefined;
  readonly memory?: MemorySummary | undefined;
  readonly vcpus?: readonly VcpuSummary[] | undefined;
  /** What the guest was running, as far as its memory says. */
  readonly software?: Software | undefined;
  /** Errors met on the way: not empty makes the input bad. */
  readonly damage: readonly Finding[];
  /** Doubts and limits, one sentence each. */
  readonly warnings: readonly string[];
  readonly details: Details;
}
