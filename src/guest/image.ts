import type { AbsentReason } from "./absent.js";
import type { Architecture } from "./arch/architecture.js";
import type { KernelLayout } from "./kernel/kernel-layout.js";
import type { PhysicalMemory } from "./memory.js";
import type { Rescue } from "./salvage.js";
import type { Vcpu } from "./vcpu.js";

/** The kernel's own description of itself, found in guest memory or brought by the source. */
export interface VmcoreInfo {
  /** `KEY=VALUE` lines, without the note around them. */
  readonly text: string;
  /** Guest-physical address of the note or text; undefined when the source carries a copy. */
  readonly gpa?: number;
}

/** What the source of a guest knows of it that other sources don't, by the kind of source. */
export type HypervisorFacts =
  | {
      /** A core of a QEMU process, or a running one. */
      readonly kind: "qemu-process";
      /** `tcg`, `kvm` … */
      readonly accelerator: string | undefined;
      /** `-m`, bytes. */
      readonly ramSize: number | undefined;
      /** `dump-guest-core` of the machine. */
      readonly dumpGuestCore: boolean | undefined;
    }
  | {
      /** QEMU's migration stream, whatever is around it. */
      readonly kind: "qemu-stream";
      /** What was running when the guest was saved: `running`, `paused`. */
      readonly runState: string | undefined;
      readonly capabilities: readonly string[];
      /** RAM blocks in the order of their addresses. */
      readonly ramBlocks: readonly string[];
      /** How the blocks' addresses were found, one phrase each. */
      readonly map: readonly string[];
      /** What is around the stream: `libvirt`, with the facts of a save's header. */
      readonly envelope: Readonly<Record<string, unknown>> | undefined;
    }
  | {
      readonly kind: "kdump";
      /** Kinds of pages that its writer left out: `dump_level`'s bits. */
      readonly dumpLevel: number;
      readonly kernelRelease: string | undefined;
    };

/** What is known of a guest beside memory and vCPUs. */
export interface Facts {
  /** What kind of file this was: `Xen migration stream, libxc version 3`. */
  readonly origin: string;
  /** Name of the input. */
  readonly source: string;
  /** Hypervisor and version: `Xen 4.17`, `QEMU 7.2.22`. */
  readonly hypervisor?: string;
  /** `HVM`, `PV`, machine type … */
  readonly guestType?: string;
  /** `arch` is a guess: the input doesn't say it, and the kernel in memory was not asked. */
  readonly archIsGuess?: true;
  readonly name?: string;
  readonly uuid?: string;
  readonly vmcoreInfo?: VmcoreInfo;
  /** `vmcoreInfo`, or its lack, is what the caller asked for: it isn't looked for again. */
  readonly vmcoreInfoIsChosen?: true;
  /** Where the kernel that `vmcoreInfo` is of maps itself and all of memory, as its own page tables have it. */
  readonly kernelLayout?: KernelLayout;
  /** What the dump's writer erased of the memory, in its own words. */
  readonly erased?: readonly string[];
  /** Bytes per page of the source, where it isn't 4096. */
  readonly pageSize?: number;
  readonly specific?: HypervisorFacts;
  /** Anything else, JSON-able, by a stable lower-case key: `tsc`, `hvmParams`, `p2m` … */
  readonly more?: Readonly<Record<string, unknown>>;
}

/** Named memory that has no guest-physical address (or one more than its address): ROMs, video memory. */
export interface NamedBlock {
  readonly name: string;
  readonly size: number;
}

/** A guest's memory whose guest-physical address isn't known, so that no range has it. */
export interface UnplacedBlock extends NamedBlock {
  readonly reason: AbsentReason;
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
  /** The guest's memory that `memory` lacks because its addresses aren't known: it counts as absent. */
  readonly unplaced?: readonly UnplacedBlock[];
  /** VMCOREINFO was not looked for in all of the memory, as `findKernel: "later"` asks: extractGuest() does. */
  readonly isKernelUnsought?: true;
  /** What damage in the middle of the input took, where it was read across such damage. */
  readonly rescue?: Rescue;
  /** Machine frame of a frame of a PV guest whose page tables hold machine frames. */
  readonly machineFrame?: (frame: number) => number | undefined;
  /** State of the whole machine kept as the source has it: `shared_info` … */
  readonly raw?: Readonly<Record<string, Uint8Array>>;
  /** Gives back files and workers; safe to call twice. */
  close?(): Promise<void>;
}
