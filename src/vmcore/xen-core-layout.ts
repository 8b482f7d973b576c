import { array, layout, octets, text, u16, u32, u64, u64big } from "../binary/layout.js";

const SPEC = "Xen dump-core format (docs/misc/dump-core-format.txt)";

/** Note types of the name `Xen`. */
export const XEN_NOTE = {
  none: 0x200_0000,
  header: 0x200_0001,
  version: 0x200_0002,
  format: 0x200_0003,
} as const;
export const XEN_CORE_MAGIC_PV = 0xf00f_ebedn;
export const XEN_CORE_MAGIC_HVM = 0xf00f_ebeen;

/** Descriptor of note 0x2000001. */
export const xenCoreHeader = layout("xen_dumpcore_elfnote_header", SPEC, {
  magic: u64big("0xf00febed: PV, 0xf00febee: HVM"),
  vcpus: u64("processors"),
  pages: u64("pages"),
  pageSize: u64("octets of a page"),
});

/** Descriptor of note 0x2000002, 1280 octets. */
export const xenCoreVersion = layout("xen_dumpcore_elfnote_xen_version", SPEC, {
  major: u64("major version of Xen"),
  minor: u64("minor version"),
  extra: text(16, "extra version"),
  compiler: text(64, "compiler"),
  compileBy: text(16, "who built it"),
  compileDomain: text(32, "where"),
  compileDate: text(32, "when"),
  capabilities: text(1024, "kinds of guests"),
  changeSet: text(64, "change set"),
  virtStart: u64big("where the hypervisor starts in a PV guest's addresses"),
  pageSize: u64("octets of a page"),
});

/** Descriptor of note 0x2000003. */
export const xenCoreFormat = layout("xen_dumpcore_elfnote_format_version", SPEC, {
  version: u64("1"),
});

/** vcpu_guest_context of x86_64: one in `.xen_prstatus` per processor, 5168 octets. */
export const vcpuContext = layout("vcpu_guest_context of x86_64", "Xen public/arch-x86/xen.h", {
  fpu: octets(512, "FXSAVE area"),
  flags: u64big("1: FPU used, 4: in kernel mode"),
  r15: u64big(""),
  r14: u64big(""),
  r13: u64big(""),
  r12: u64big(""),
  rbp: u64big(""),
  rbx: u64big(""),
  r11: u64big(""),
  r10: u64big(""),
  r9: u64big(""),
  r8: u64big(""),
  rax: u64big(""),
  rcx: u64big(""),
  rdx: u64big(""),
  rsi: u64big(""),
  rdi: u64big(""),
  errorCode: u32(""),
  entryVector: u32(""),
  rip: u64big(""),
  cs: u16("selector"),
  csPadding: octets(6, "saved upcall mask, padding"),
  rflags: u64big(""),
  rsp: u64big(""),
  ss: u16("selector"),
  ssPadding: octets(6, ""),
  es: u16("selector"),
  esPadding: octets(6, ""),
  ds: u16("selector"),
  dsPadding: octets(6, ""),
  fs: u16("selector"),
  fsPadding: octets(6, ""),
  gs: u16("selector"),
  gsPadding: octets(6, ""),
  traps: octets(4096, "virtual IDT: 256 entries"),
  ldtBase: u64big(""),
  ldtEntries: u64big(""),
  gdtFrames: array(u64big(""), 16, "machine frames of the GDT"),
  gdtEntries: u64big(""),
  kernelSs: u64big(""),
  kernelSp: u64big(""),
  control: array(u64big(""), 8, "cr0 … cr7"),
  debug: array(u64big(""), 8, "dr0 … dr7"),
  callbacks: array(u64big(""), 3, "event, failsafe and system call entry points"),
  vmAssist: u64big(""),
  fsBase: u64big(""),
  gsBaseKernel: u64big(""),
  gsBaseUser: u64big(""),
});
