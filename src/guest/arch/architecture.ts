import type { ByteOrder, DescribedLayout } from "../../binary/layout.js";
import type { Aarch64Registers, OtherRegisters, Vcpu, X86Registers } from "../vcpu.js";

/** Names of the architectures, as uname and the Linux kernel's source tree have them. */
export type ArchitectureName = "x86_64" | "i386" | "aarch64" | "arm" | "ppc64" | "s390x" | "riscv64";

/** NT_PRSTATUS of an architecture: the registers of one vCPU as an ELF note has them. */
export interface PrstatusCodec {
  readonly layout: DescribedLayout;
  /** The descriptor for a vCPU whose registers are of this architecture's kind; pr_pid is its number + 1, as QEMU has it. */
  encode?(vcpu: Vcpu, order: ByteOrder): Uint8Array | undefined;
  /** The registers in a descriptor of at least `layout.size` bytes. */
  decode(descriptor: Uint8Array, order: ByteOrder): X86Registers | Aarch64Registers | OtherRegisters;
}

/** An architecture: all that ELF files, dumps and notes say of it. */
export interface Architecture {
  readonly name: ArchitectureName;
  /** e_machine. */
  readonly machine: number;
  readonly bits: 32 | 64;
  readonly order: ByteOrder;
  /** What uname -m says of such a kernel, and what kdump's header is given: the usual name. */
  readonly uname: string;
  /** Every name that uname -m has for it. */
  readonly isUname: (machine: string) => boolean;
  readonly prstatus: PrstatusCodec;
  /** Architectures whose notes a file of this one may hold: a 64-bit kernel's guest in 32-bit mode. Larger notes first. */
  readonly otherNotes?: readonly PrstatusCodec[];
}
