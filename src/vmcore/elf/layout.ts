import { array, layout, u16, u32, u64big } from "../../binary/layout.js";

/** Structures of the notes that VirtualBox writes into its cores, always little endian. */
const SPEC = "VirtualBox, include/VBox/vmm/dbgfcorefmt.h";

/** What VirtualBox says of the whole core. */
export const vboxCore = layout("DBGFCOREDESCRIPTOR", SPEC, {
  magic: u32("c01ac0de"),
  format: u32("10006: the form of the CPU notes"),
  size: u32("bytes of this structure"),
  version: u32("of VirtualBox: major, minor in a byte each, then build"),
  revision: u32(""),
  cpus: u32("number of CPU notes"),
});

const selector = {
  base: u64big(""),
  limit: u32("bytes"),
  attributes: u32("as VT-x has them"),
  selector: u16(""),
  reserved0: u16(""),
  reserved1: u32(""),
};
/** A segment register of a vCPU. */
export const vboxSelector = layout("DBGFCORESEL", SPEC, selector);

/** A vCPU from its start on; six segments follow. */
export const vboxGeneral = layout("DBGFCORECPU, start", SPEC, {
  rax: u64big(""),
  rbx: u64big(""),
  rcx: u64big(""),
  rdx: u64big(""),
  rsi: u64big(""),
  rdi: u64big(""),
  r8: u64big(""),
  r9: u64big(""),
  r10: u64big(""),
  r11: u64big(""),
  r12: u64big(""),
  r13: u64big(""),
  r14: u64big(""),
  r15: u64big(""),
  rip: u64big(""),
  rsp: u64big(""),
  rbp: u64big(""),
  rflags: u64big(""),
});

/** After six segments. */
export const vboxControl = layout("DBGFCORECPU, after its segments", SPEC, {
  cr0: u64big(""),
  cr2: u64big(""),
  cr3: u64big(""),
  cr4: u64big(""),
  dr: array(u64big(""), 8, "dr0 to dr7"),
  gdtr: u64big("base"),
  gdtr_limit: u32("bytes"),
  gdtr_reserved: u32(""),
  idtr: u64big("base"),
  idtr_limit: u32("bytes"),
  idtr_reserved: u32(""),
});

/** After two more segments: ldtr, tr. */
export const vboxMsrs = layout("DBGFCORECPU, MSRs", SPEC, {
  sysenter_cs: u64big(""),
  sysenter_eip: u64big(""),
  sysenter_esp: u64big(""),
  efer: u64big(""),
  star: u64big(""),
  pat: u64big(""),
  lstar: u64big(""),
  cstar: u64big(""),
  sfmask: u64big(""),
  kernel_gs_base: u64big(""),
  apic_base: u64big(""),
  tsc_aux: u64big(""),
  xcr0: u64big(""),
});
