/** A segment register with its hidden part. */
export interface Segment {
  readonly selector: number;
  readonly base: bigint;
  /** In bytes, as the CPU applies it. */
  readonly limit: number;
  /** High word of the descriptor: type and S and DPL and P in bits 8–15, AVL, L, D/B, G in bits 20–23. */
  readonly flags: number;
}

/** Segment registers, and the task and local descriptor table registers. */
export type X86SegmentName = "cs" | "ds" | "es" | "fs" | "gs" | "ss" | "tr" | "ldt";

/** General registers, instruction pointer and flags, by their 64-bit names. */
export const X86_GENERAL = [
  "rax",
  "rbx",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "rsp",
  "rbp",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "rip",
  "rflags",
] as const;
/** Name of a general register. */
export type X86General = (typeof X86_GENERAL)[number];

/** All general registers; those not given are zero. */
export function completeGeneral(known: Partial<Record<X86General, bigint>>): Record<X86General, bigint> {
  const all = X86_GENERAL.map((name) => [name, known[name] ?? 0n] as const);
  return Object.fromEntries(all) as Record<X86General, bigint>;
}

/** x86 registers by the names of the architecture manuals; what a source doesn't know is left out. */
export interface X86Registers {
  readonly kind: "x86";
  readonly general: Readonly<Record<X86General, bigint>>;
  readonly segments: Readonly<Partial<Record<X86SegmentName, Segment>>>;
  readonly gdt?: { readonly base: bigint; readonly limit: number };
  readonly idt?: { readonly base: bigint; readonly limit: number };
  /** `cr0`, `cr2`, `cr3`, `cr4`, `cr8`, `xcr0`. */
  readonly control: Readonly<Record<string, bigint>>;
  /** `dr0` … `dr3`, `dr6`, `dr7`. */
  readonly debug: Readonly<Record<string, bigint>>;
  /** By their names in lower case: `efer`, `star`, `lstar`, `cstar`, `sfmask`, `kernel_gs_base`, `sysenter_cs`, `tsc`, `pat` … */
  readonly msrs: Readonly<Record<string, bigint>>;
}

/** Registers of an aarch64 vCPU. */
export interface Aarch64Registers {
  readonly kind: "aarch64";
  /** x0 … x30. */
  readonly x: readonly bigint[];
  readonly sp: bigint;
  readonly pc: bigint;
  readonly pstate: bigint;
  /** System registers by name in lower case: `ttbr1_el1`, `tcr_el1`, `sctlr_el1` … */
  readonly system: Readonly<Record<string, bigint>>;
}

/** Registers of any other architecture, as its NT_PRSTATUS holds them. */
export interface OtherRegisters {
  readonly kind: "other";
  readonly prstatus: Uint8Array;
  /** Where it runs and its stack; undefined, and `named` empty, for a set of a form not known. */
  readonly pc?: bigint;
  readonly sp?: bigint;
  /** By the manuals' names in lower case: `r0` …, `cpsr`, `msr`, `psw_mask` … */
  readonly named: Readonly<Record<string, bigint>>;
}

/** An ELF note about one vCPU, contents in the guest's byte order. */
export interface VcpuNote {
  readonly name: string;
  readonly type: number;
  readonly descriptor: Uint8Array;
}

/** One virtual CPU as its source knows it. */
export interface Vcpu {
  /** Number within the guest, from 0. */
  readonly id: number;
  readonly registers?: X86Registers | Aarch64Registers | OtherRegisters;
  /** Anything that limits trust in the registers: `may be stale under KVM`. */
  readonly caveat?: string;
  /** State areas not decoded here: `xsave`, `mtrr`, `lapic` … */
  readonly raw?: Readonly<Record<string, Uint8Array>>;
  /** Notes of this vCPU that a dump brought beside NT_PRSTATUS, in its order: floating point, vectors, control registers. */
  readonly notes?: readonly VcpuNote[];
}

/** A vCPU as an inspection shows it: without raw areas and notes. */
export type VcpuSummary = Pick<Vcpu, "id" | "caveat"> & {
  readonly registers?: X86Registers | Aarch64Registers | Omit<OtherRegisters, "prstatus"> | undefined;
};

/** Leaves out what an inspection doesn't show of a vCPU. */
export function summarizeVcpu({ id, registers, caveat }: Vcpu): VcpuSummary {
  const summary = caveat === undefined ? { id } : { id, caveat };
  if (registers?.kind !== "other") return { ...summary, registers };
  const { prstatus: _note, ...rest } = registers;
  return { ...summary, registers: rest };
}
