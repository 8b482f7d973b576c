import type { ByteOrder } from "../binary/layout.js";
import type { PhysicalMemory } from "./memory.js";
import type { Vcpu } from "./vcpu.js";

export type ArchitectureName = "x86_64" | "i386" | "aarch64" | "arm" | "ppc64" | "s390x" | "riscv64";

/** What an ELF header says of a machine. */
export interface Architecture {
  readonly name: ArchitectureName;
  /** e_machine. */
  readonly machine: number;
  readonly bits: 32 | 64;
  readonly order: ByteOrder;
}

export const X86_64: Architecture = { name: "x86_64", machine: 62, bits: 64, order: "little" };
export const I386: Architecture = { name: "i386", machine: 3, bits: 32, order: "little" };
export const ARM: Architecture = { name: "arm", machine: 40, bits: 32, order: "little" };
export const AARCH64: Architecture = { name: "aarch64", machine: 183, bits: 64, order: "little" };
export const AARCH64_BE: Architecture = { name: "aarch64", machine: 183, bits: 64, order: "big" };
export const PPC64: Architecture = { name: "ppc64", machine: 21, bits: 64, order: "big" };
export const PPC64_LE: Architecture = { name: "ppc64", machine: 21, bits: 64, order: "little" };
export const S390X: Architecture = { name: "s390x", machine: 22, bits: 64, order: "big" };
export const RISCV64: Architecture = { name: "riscv64", machine: 243, bits: 64, order: "little" };

export const ARCHITECTURES: readonly Architecture[] = [
  X86_64,
  I386,
  ARM,
  AARCH64,
  AARCH64_BE,
  PPC64,
  PPC64_LE,
  S390X,
];

/** The kernel's own description of itself, found in guest memory or brought by the source. */
export interface VmcoreInfo {
  /** `KEY=VALUE` lines, without the note around them. */
  readonly text: string;
  /** Guest-physical address of the note or text; undefined when the source carries a copy. */
  readonly gpa?: number;
}

/** What is known of a guest beside memory and processors. */
export interface Facts {
  /** What kind of file this was: `Xen migration stream, libxc version 3`. */
  readonly origin: string;
  /** Name of the input. */
  readonly source: string;
  /** Hypervisor and version: `Xen 4.17`, `QEMU 7.2.22`. */
  readonly hypervisor?: string;
  /** `HVM`, `PV`, machine type … */
  readonly guestType?: string;
  readonly name?: string;
  readonly uuid?: string;
  readonly vmcoreInfo?: VmcoreInfo;
  /** What the dump's writer erased of the memory, in its own words. */
  readonly erased?: readonly string[];
  /** Bytes per page of the source, where it isn't 4096. */
  readonly pageSize?: number;
  /** Anything else, JSON-able, by a stable lower-case key: `tsc`, `hvmParams`, `p2m` … */
  readonly more?: Readonly<Record<string, unknown>>;
}

/** Named memory that has no guest-physical address (or one more than its address): ROMs, video memory. */
export interface NamedBlock {
  readonly name: string;
  readonly size: number;
}

/** One saved guest, whatever file it came from. */
export interface GuestImage {
  readonly arch: Architecture;
  readonly memory: PhysicalMemory;
  readonly vcpus: readonly Vcpu[];
  readonly facts: Facts;
  /** Problems met while opening that did not stop it: lost pages, doubtful registers. One sentence each. */
  readonly warnings: readonly string[];
  readonly blocks?: readonly NamedBlock[];
  /** Machine frame behind a frame of a PV guest whose page tables hold machine frames. */
  readonly machineFrame?: (frame: number) => number | undefined;
  /** State of the whole machine kept as the source has it: `shared_info` … */
  readonly raw?: Readonly<Record<string, Uint8Array>>;
  /** Gives back files and workers; safe to call twice. */
  close?(): Promise<void>;
}
