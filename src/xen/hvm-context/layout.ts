import { array, layout, bytes, u16, u32, u64big } from "../../binary/layout.js";

const SPEC = "Xen HVM save format";

/** Little endian: the hypervisor writes its own structures. */
export const saveDescriptor = layout("HVM save descriptor", `${SPEC}: descriptor`, {
  typecode: u16("kind of entry; 0 ends the chain"),
  instance: u16("vCPU or device number"),
  length: u32("bytes of the entry's body"),
});

/** Type codes of entries that are looked into. */
export const SAVE_TYPE = { END: 0, HEADER: 1, CPU: 2, PIC: 3, LAPIC: 5, XSAVE: 16, MSR: 20 } as const;

/** Entries by typecode. */
export const SAVE_TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "END"],
  [1, "HEADER"],
  [2, "CPU"],
  [3, "PIC"],
  [4, "IOAPIC"],
  [5, "LAPIC"],
  [6, "LAPIC_REGS"],
  [7, "PCI_IRQ"],
  [8, "ISA_IRQ"],
  [9, "PCI_LINK"],
  [10, "PIT"],
  [11, "RTC"],
  [12, "HPET"],
  [13, "PMTIMER"],
  [14, "MTRR"],
  [15, "VIRIDIAN_DOMAIN"],
  [16, "CPU_XSAVE"],
  [17, "VIRIDIAN_VCPU"],
  [18, "VMCE_VCPU"],
  [19, "TSC_ADJUST"],
  [20, "CPU_MSR"],
]);

/** `CPU`, `type 77`. */
export function saveTypeName(typecode: number): string {
  return SAVE_TYPE_NAMES.get(typecode) ?? `type ${typecode}`;
}

/** The header entry's magic number. */
export const SAVE_MAGIC = 0x54381286;

/** Body of the HEADER entry: what saved the guest, and on which CPU. */
export const saveHeader = layout("HVM save HEADER", `${SPEC}: HEADER`, {
  magic: u32("0x54381286"),
  version: u32("1"),
  changeset: u64big("of the hypervisor that saved; all ones: not known"),
  cpuid: u32("eax of CPUID leaf 1"),
  gtscKhz: u32("frequency of the guest's TSC"),
});

/** Selectors, limits, bases and access rights are in this order; limits and bases have idtr and gdtr too. */
export const CPU_SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr", "idtr", "gdtr"] as const;

/** General registers in the order of the CPU entry. */
export const CPU_GENERAL = [
  "rax",
  "rbx",
  "rcx",
  "rdx",
  "rbp",
  "rsi",
  "rdi",
  "rsp",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;

/** 1032 bytes; older releases end it before `flags`, at CPU_SIZE_BEFORE_FLAGS. */
export const saveCpu = layout("HVM save CPU", `${SPEC}: CPU`, {
  fpu: bytes(512, "FXSAVE area"),
  general: array(u64big("register"), 16, "rax rbx rcx rdx rbp rsi rdi rsp r8 to r15"),
  rip: u64big("instruction pointer"),
  rflags: u64big("flags"),
  cr0: u64big("control register 0"),
  cr2: u64big("control register 2"),
  cr3: u64big("control register 3"),
  cr4: u64big("control register 4"),
  dr0: u64big("debug register 0"),
  dr1: u64big("debug register 1"),
  dr2: u64big("debug register 2"),
  dr3: u64big("debug register 3"),
  dr6: u64big("debug register 6"),
  dr7: u64big("debug register 7"),
  selectors: array(u32("selector"), 8, "cs ds es fs gs ss tr ldtr"),
  limits: array(u32("limit in bytes"), 10, "cs ds es fs gs ss tr ldtr idtr gdtr"),
  bases: array(u64big("base"), 10, "cs ds es fs gs ss tr ldtr idtr gdtr"),
  accessRights: array(
    u32("access rights"),
    8,
    "cs ds es fs gs ss tr ldtr; bits 0-7 and 8-11 of the descriptor",
  ),
  sysenterCs: u64big("MSR SYSENTER_CS"),
  sysenterEsp: u64big("MSR SYSENTER_ESP"),
  sysenterEip: u64big("MSR SYSENTER_EIP"),
  shadowGs: u64big("MSR KERNEL_GS_BASE"),
  obsolete: u64big("was MSR flags"),
  lstar: u64big("MSR LSTAR"),
  star: u64big("MSR STAR"),
  cstar: u64big("MSR CSTAR"),
  sfmask: u64big("MSR SFMASK"),
  efer: u64big("MSR EFER"),
  tscAux: u64big("MSR TSC_AUX"),
  tsc: u64big("time stamp counter"),
  pendingEvent: u32("event waiting for delivery"),
  errorCode: u32("its error code"),
  flags: u32("bit 0: the FPU was used"),
  padding: u32("0"),
});

/** Bytes of the CPU entry of releases that did not write its last field yet. */
export const CPU_SIZE_BEFORE_FLAGS: number = saveCpu.offsetOf("flags");
