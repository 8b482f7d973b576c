import { array, layout, bytes, u32, u64big } from "../binary/layout.js";
import { PRSTATUS_HEAD_32, PRSTATUS_HEAD_64 } from "./core-notes.js";

const SPEC = "Linux elfcore.h, struct elf_prstatus";

/** NT_PRSTATUS of an x86_64 processor: 336 bytes. */
export const PRSTATUS_X86_64 = layout("prstatus of x86_64", SPEC, {
  ...PRSTATUS_HEAD_64,
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
  orig_rax: u64big("system call number, or -1"),
  rip: u64big(""),
  cs: u64big("selector"),
  rflags: u64big(""),
  rsp: u64big(""),
  ss: u64big("selector"),
  fs_base: u64big(""),
  gs_base: u64big(""),
  ds: u64big("selector"),
  es: u64big("selector"),
  fs: u64big("selector"),
  gs: u64big("selector"),
  fpvalid: bytes(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of an i386 processor: 144 bytes. */
export const PRSTATUS_I386 = layout("prstatus of i386", SPEC, {
  ...PRSTATUS_HEAD_32,
  rbx: u32("ebx"),
  rcx: u32("ecx"),
  rdx: u32("edx"),
  rsi: u32("esi"),
  rdi: u32("edi"),
  rbp: u32("ebp"),
  rax: u32("eax"),
  ds: u32("selector"),
  es: u32("selector"),
  fs: u32("selector"),
  gs: u32("selector"),
  orig_rax: u32("system call number, or -1"),
  rip: u32("eip"),
  cs: u32("selector"),
  rflags: u32("eflags"),
  rsp: u32("esp"),
  ss: u32("selector"),
  fpvalid: bytes(4, "whether floating point follows"),
});

/** NT_PRSTATUS of an aarch64 processor: 392 bytes. */
export const PRSTATUS_AARCH64 = layout("prstatus of aarch64", SPEC, {
  ...PRSTATUS_HEAD_64,
  x: array(u64big(""), 31, "x0 to x30"),
  sp: u64big(""),
  pc: u64big(""),
  pstate: u64big(""),
  fpvalid: bytes(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of a 32-bit ARM CPU: 148 bytes. */
export const PRSTATUS_ARM = layout("prstatus of arm", SPEC, {
  ...PRSTATUS_HEAD_32,
  r: array(u32(""), 16, "r0 to r15"),
  cpsr: u32(""),
  orig_r0: u32("first argument of a system call"),
  fpvalid: bytes(4, "whether floating point follows"),
});

/** NT_PRSTATUS of a 64-bit PowerPC processor: 504 bytes. */
export const PRSTATUS_PPC64 = layout("prstatus of ppc64", SPEC, {
  ...PRSTATUS_HEAD_64,
  r: array(u64big(""), 32, "r0 to r31"),
  nip: u64big("next instruction"),
  msr: u64big(""),
  orig_r3: u64big("first argument of a system call"),
  ctr: u64big(""),
  lr: u64big(""),
  xer: u64big(""),
  cr: u64big(""),
  softe: u64big("interrupts enabled in software"),
  trap: u64big(""),
  dar: u64big(""),
  dsisr: u64big(""),
  result: u64big("of a system call"),
  rest: bytes(32, "not used"),
  fpvalid: bytes(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of a z/Architecture processor: 336 bytes. */
export const PRSTATUS_S390X = layout("prstatus of s390x", SPEC, {
  ...PRSTATUS_HEAD_64,
  psw_mask: u64big(""),
  psw_addr: u64big("next instruction"),
  r: array(u64big(""), 16, "r0 to r15"),
  a: array(u32(""), 16, "access registers"),
  orig_r2: u64big("first argument of a system call"),
  fpvalid: bytes(8, "whether floating point follows, padding"),
});

/** Registers of a 64-bit RISC-V CPU in the order of struct user_regs_struct. */
export const RISCV64_REGISTERS = [
  ..."pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7".split(" "),
  ..."s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6".split(" "),
] as const;

/** NT_PRSTATUS of a 64-bit RISC-V CPU: 376 bytes. */
export const PRSTATUS_RISCV64 = layout("prstatus of riscv64", SPEC, {
  ...PRSTATUS_HEAD_64,
  registers: array(u64big(""), 32, "pc, ra, sp, gp, tp, t0 to t2, s0, s1, a0 to a7, s2 to s11, t3 to t6"),
  fpvalid: bytes(8, "whether floating point follows, padding"),
});

const NONE = new Uint8Array(0);

/** The part before the registers for something that got no signal, apart from the masks of signals. */
export const BLANK_PRSTATUS = {
  si_signo: 0,
  si_code: 0,
  si_errno: 0,
  pr_cursig: 0,
  padding: 0,
  pr_ppid: 0,
  pr_pgrp: 0,
  pr_sid: 0,
  times: NONE,
  fpvalid: NONE,
} as const;
