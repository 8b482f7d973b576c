import { array, layout, bytes, u8, u16, u32, u64big } from "../binary/layout.js";

/**
 * A PV vCPU's context, `vcpu_guest_context` of Xen's public interface. Little endian. In X86_PV_VCPU_BASIC and
 * legacy tails it is canonical: frames are pfns. Xen cores hold machine frames, and have one for HVM guests as well.
 */

const SPEC = "Xen public interface: vcpu_guest_context";

/** 5168 bytes. */
export const pvContext64 = layout("PV context of a 64-bit guest", SPEC, {
  fpu: bytes(512, "FXSAVE area"),
  flags: u64big("bit 2: in kernel mode, bit 5: online"),
  general: array(u64big("register"), 15, "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi"),
  errorCode: u32("of the event on the way"),
  entryVector: u32("of the event on the way"),
  rip: u64big("instruction pointer"),
  cs: u16("selector"),
  csPad: bytes(2, "padding"),
  savedUpcallMask: u8("event delivery was off"),
  upcallPad: bytes(3, "padding"),
  rflags: u64big("flags"),
  rsp: u64big("stack pointer"),
  ss: u16("selector"),
  ssPad: bytes(6, "padding"),
  es: u16("selector"),
  esPad: bytes(6, "padding"),
  ds: u16("selector"),
  dsPad: bytes(6, "padding"),
  fs: u16("selector"),
  fsPad: bytes(6, "padding"),
  gs: u16("selector"),
  gsPad: bytes(6, "padding"),
  traps: bytes(256 * 16, "virtual interrupt descriptors"),
  ldtBase: u64big("linear address of the LDT"),
  ldtEntries: u64big("its descriptors"),
  gdtFrames: array(u64big("pfn"), 16, "pages of the GDT"),
  gdtEntries: u64big("its descriptors"),
  kernelSs: u64big("stack segment in kernel mode"),
  kernelSp: u64big("stack pointer in kernel mode"),
  control: array(u64big("register"), 8, "cr0, cr1 (user page table), cr2, cr3 (pfn << 12), cr4 …"),
  debug: array(u64big("register"), 8, "dr0 to dr7"),
  eventCallback: u64big("entry point"),
  failsafeCallback: u64big("entry point"),
  syscallCallback: u64big("entry point"),
  vmAssist: u64big("assists in use"),
  fsBase: u64big("base of fs"),
  gsBaseKernel: u64big("base of gs in kernel mode"),
  gsBaseUser: u64big("base of gs in user mode"),
});

/** 2800 bytes. */
export const pvContext32 = layout("PV context of a 32-bit guest", SPEC, {
  fpu: bytes(512, "FXSAVE area"),
  flags: u32("bit 2: in kernel mode, bit 5: online"),
  general: array(u32("register"), 7, "ebx ecx edx esi edi ebp eax"),
  errorCode: u16("of the event on the way"),
  entryVector: u16("of the event on the way"),
  eip: u32("instruction pointer"),
  cs: u16("selector"),
  savedUpcallMask: u8("event delivery was off"),
  csPad: u8("padding"),
  eflags: u32("flags"),
  esp: u32("stack pointer"),
  ss: u16("selector"),
  ssPad: u16("padding"),
  es: u16("selector"),
  esPad: u16("padding"),
  ds: u16("selector"),
  dsPad: u16("padding"),
  fs: u16("selector"),
  fsPad: u16("padding"),
  gs: u16("selector"),
  gsPad: u16("padding"),
  traps: bytes(256 * 8, "virtual interrupt descriptors"),
  ldtBase: u32("linear address of the LDT"),
  ldtEntries: u32("its descriptors"),
  gdtFrames: array(u32("pfn"), 16, "pages of the GDT"),
  gdtEntries: u32("its descriptors"),
  kernelSs: u32("stack segment in kernel mode"),
  kernelSp: u32("stack pointer in kernel mode"),
  control: array(u32("register"), 8, "cr0, cr1, cr2, cr3 (pfn rotated left by 12), cr4 …"),
  debug: array(u32("register"), 8, "dr0 to dr7"),
  callbacks: bytes(16, "entry points"),
  vmAssist: u32("assists in use"),
});

/** Order of `general` in a 64-bit context. */
export const PV_GENERAL_64 = [
  "r15",
  "r14",
  "r13",
  "r12",
  "rbp",
  "rbx",
  "r11",
  "r10",
  "r9",
  "r8",
  "rax",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
] as const;
/** Order of `general` in a 32-bit context, by the names of the 64-bit registers. */
export const PV_GENERAL_32 = ["rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rax"] as const;

/** Bit of `flags`: the vCPU runs the guest's kernel. */
export const PV_IN_KERNEL = 4;
