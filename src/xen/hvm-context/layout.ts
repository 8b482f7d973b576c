import { array, layout, octets, u16, u32, u64big } from "../../binary/layout.js";

const SPEC = "Xen public header arch-x86/hvm/save.h";

export const HVM_SAVE_DESCRIPTOR = layout("HVM save descriptor", `${SPEC}: hvm_save_descriptor`, {
  typecode: u16("kind of record; 0 ends the chain"),
  instance: u16("which one: the vCPU, the chip"),
  length: u32("octets of the body that follows; no padding"),
});

export const HVM_SAVE_END = 0;
export const HVM_SAVE_HEADER = 1;
export const HVM_SAVE_CPU = 2;
export const HVM_SAVE_MTRR = 14;
export const HVM_SAVE_XSAVE = 16;

/** Names by type code. */
export const HVM_SAVE_NAMES: Readonly<Record<number, string>> = {
  0: "END",
  1: "HEADER",
  2: "CPU",
  3: "PIC",
  4: "IOAPIC",
  5: "LAPIC",
  6: "LAPIC_REGS",
  7: "PCI_IRQ",
  8: "ISA_IRQ",
  9: "PCI_LINK",
  10: "PIT",
  11: "RTC",
  12: "HPET",
  13: "PMTIMER",
  14: "MTRR",
  15: "VIRIDIAN_DOMAIN",
  16: "CPU_XSAVE",
  17: "VIRIDIAN_VCPU",
  18: "VMCE_VCPU",
  19: "TSC_ADJUST",
  20: "CPU_MSR",
};

/** Segment registers in the order of the CPU record's selectors and access rights. */
export const HVM_CPU_SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;
/** The order of its limits and bases: the same eight, then the two tables. */
export const HVM_CPU_TABLES = [...HVM_CPU_SEGMENTS, "idt", "gdt"] as const;

/** Up to the error code: the older form of 1024 octets ends there, today's 1032 go on with `HVM_CPU_FLAGS`. */
export const HVM_CPU = layout("HVM CPU record", `${SPEC}: hvm_hw_cpu`, {
  fxsave: octets(512, "FXSAVE area"),
  general: array(u64big("register"), 16, "rax rbx rcx rdx rbp rsi rdi rsp r8 to r15"),
  rip: u64big("rip"),
  rflags: u64big("rflags"),
  cr0: u64big("cr0"),
  cr2: u64big("cr2"),
  cr3: u64big("cr3"),
  cr4: u64big("cr4"),
  debug: array(u64big("register"), 6, "dr0 dr1 dr2 dr3 dr6 dr7"),
  selectors: array(u32("selector"), 8, "cs ds es fs gs ss tr ldtr"),
  limits: array(u32("limit"), 10, "cs ds es fs gs ss tr ldtr idtr gdtr"),
  bases: array(u64big("base"), 10, "cs ds es fs gs ss tr ldtr idtr gdtr"),
  accessRights: array(u32("access rights"), 8, "cs ds es fs gs ss tr ldtr, as VMX has them"),
  sysenterCs: u64big("SYSENTER_CS"),
  sysenterEsp: u64big("SYSENTER_ESP"),
  sysenterEip: u64big("SYSENTER_EIP"),
  shadowGs: u64big("inactive GS base (KERNEL_GS_BASE)"),
  obsoleteFlags: u64big("not used"),
  lstar: u64big("LSTAR"),
  star: u64big("STAR"),
  cstar: u64big("CSTAR"),
  sfmask: u64big("SFMASK"),
  efer: u64big("EFER"),
  tscAux: u64big("TSC_AUX"),
  tsc: u64big("time stamp counter"),
  pendingEvent: u32("event to inject"),
  errorCode: u32("its error code"),
});

/** Order of `HVM_CPU.general`. */
export const HVM_CPU_GENERAL = [
  ...["rax", "rbx", "rcx", "rdx", "rbp", "rsi", "rdi", "rsp"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
] as const;

export const HVM_CPU_FLAGS = layout("HVM CPU record, end", `${SPEC}: hvm_hw_cpu`, {
  flags: u32("bit 0: the FPU is initialised"),
  padding: u32("0"),
});

export const HVM_HEADER = layout("HVM save header", `${SPEC}: hvm_save_header`, {
  magic: u32("0x54381286"),
  version: u32("1"),
  changeset: u64big("change set of the saving Xen"),
  cpuid: u32("CPUID leaf 1 eax of the host"),
  gtscKhz: u32("guest TSC frequency"),
});
