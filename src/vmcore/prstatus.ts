import { array, type ByteOrder, octets, u32, u64big, layout } from "../binary/layout.js";
import { PRSTATUS_HEAD_32, PRSTATUS_HEAD_64 } from "../elf/core-notes.js";
import {
  AARCH64,
  AARCH64_BE,
  type Architecture,
  ARM,
  I386,
  PPC64,
  PPC64_LE,
  S390X,
  X86_64,
} from "../guest/image.js";
import {
  type Aarch64Registers,
  type OtherRegisters,
  type Vcpu,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "../guest/vcpu.js";

const SPEC = "Linux elfcore.h, struct elf_prstatus";

/** NT_PRSTATUS of an x86_64 processor: 336 octets. */
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
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of an i386 processor: 144 octets. */
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
  fpvalid: octets(4, "whether floating point follows"),
});

/** NT_PRSTATUS of an aarch64 processor: 392 octets. */
export const PRSTATUS_AARCH64 = layout("prstatus of aarch64", SPEC, {
  ...PRSTATUS_HEAD_64,
  x: array(u64big(""), 31, "x0 to x30"),
  sp: u64big(""),
  pc: u64big(""),
  pstate: u64big(""),
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of a 32-bit ARM processor: 148 octets. */
export const PRSTATUS_ARM = layout("prstatus of arm", SPEC, {
  ...PRSTATUS_HEAD_32,
  r: array(u32(""), 16, "r0 to r15"),
  cpsr: u32(""),
  orig_r0: u32("first argument of a system call"),
  fpvalid: octets(4, "whether floating point follows"),
});

/** NT_PRSTATUS of a 64-bit PowerPC processor: 504 octets. */
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
  rest: octets(32, "not used"),
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** NT_PRSTATUS of a z/Architecture processor: 336 octets. */
export const PRSTATUS_S390X = layout("prstatus of s390x", SPEC, {
  ...PRSTATUS_HEAD_64,
  psw_mask: u64big(""),
  psw_addr: u64big("next instruction"),
  r: array(u64big(""), 16, "r0 to r15"),
  a: array(u32(""), 16, "access registers"),
  orig_r2: u64big("first argument of a system call"),
  fpvalid: octets(8, "whether floating point follows, padding"),
});

/** Every set by its size; where two have the same, byte order tells them apart. */
const SETS: readonly (readonly [size: number, arch: Architecture])[] = [
  [PRSTATUS_X86_64.size, X86_64],
  [PRSTATUS_I386.size, I386],
  [PRSTATUS_AARCH64.size, AARCH64],
  [PRSTATUS_AARCH64.size, AARCH64_BE],
  [PRSTATUS_ARM.size, ARM],
  [PRSTATUS_PPC64.size, PPC64],
  [PRSTATUS_PPC64.size, PPC64_LE],
  [PRSTATUS_S390X.size, S390X],
];

/** The architecture whose NT_PRSTATUS has this size in this byte order. */
export function architectureOfPrstatus(size: number | undefined, order: ByteOrder): Architecture | undefined {
  return SETS.find(([known, arch]) => known === size && arch.order === order)?.[1];
}

const NONE = new Uint8Array(0);
const TIMES = { padding: 0, pr_ppid: 0, pr_pgrp: 0, pr_sid: 0, times: NONE };
const SIGNALS = { si_signo: 0, si_code: 0, si_errno: 0, pr_cursig: 0 };

/** The descriptor of one processor's NT_PRSTATUS; undefined when its registers are not known. */
export function encodePrstatus(vcpu: Vcpu, arch: Architecture): Uint8Array | undefined {
  const { registers } = vcpu;
  if (registers === undefined) return undefined;
  if (registers.kind === "other") return registers.prstatus;
  // a dump read by us goes out as it came in
  const kept = vcpu.raw?.prstatus;
  if (kept !== undefined && kept.length === prstatusLayout(registers, arch).size) return kept;
  const common = { ...SIGNALS, ...TIMES, pr_pid: vcpu.id + 1, fpvalid: NONE };
  const head = { ...common, pr_sigpend: 0n, pr_sighold: 0n };
  if (registers.kind === "aarch64") {
    const { x, sp, pc, pstate } = registers;
    return PRSTATUS_AARCH64.encode({ ...head, x, sp, pc, pstate }, arch.order);
  }
  const selector = (name: X86SegmentName): bigint => BigInt(registers.segments[name]?.selector ?? 0);
  const { r8, r9, r10, r11, r12, r13, r14, r15, ...general } = registers.general;
  const { cs, ds, es, fs, gs, ss } = {
    cs: selector("cs"),
    ds: selector("ds"),
    es: selector("es"),
    fs: selector("fs"),
    gs: selector("gs"),
    ss: selector("ss"),
  };
  if (arch.bits === 32) {
    const low = (value: bigint): number => Number(BigInt.asUintN(32, value));
    const { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, rip, rflags } = general;
    return PRSTATUS_I386.encode(
      {
        ...common,
        pr_sigpend: 0,
        pr_sighold: 0,
        rbx: low(rbx),
        rcx: low(rcx),
        rdx: low(rdx),
        rsi: low(rsi),
        rdi: low(rdi),
        rbp: low(rbp),
        rax: low(rax),
        ds: low(ds),
        es: low(es),
        fs: low(fs),
        gs: low(gs),
        orig_rax: 0xffff_ffff,
        rip: low(rip),
        cs: low(cs),
        rflags: low(rflags),
        rsp: low(rsp),
        ss: low(ss),
      },
      arch.order,
    );
  }
  return PRSTATUS_X86_64.encode(
    {
      ...head,
      ...general,
      r8,
      r9,
      r10,
      r11,
      r12,
      r13,
      r14,
      r15,
      orig_rax: -1n,
      cs,
      ss,
      ds,
      es,
      fs,
      gs,
      fs_base: registers.segments.fs?.base ?? registers.msrs.fs_base ?? 0n,
      gs_base: registers.segments.gs?.base ?? registers.msrs.gs_base ?? 0n,
    },
    arch.order,
  );
}

function prstatusLayout(
  registers: X86Registers | Aarch64Registers,
  arch: Architecture,
): { readonly size: number } {
  if (registers.kind === "aarch64") return PRSTATUS_AARCH64;
  return arch.bits === 32 ? PRSTATUS_I386 : PRSTATUS_X86_64;
}

/** Registers of an NT_PRSTATUS descriptor. Selectors alone are no segments: they stay in the raw note. */
export function decodePrstatus(
  descriptor: Uint8Array,
  arch: Architecture,
): X86Registers | Aarch64Registers | OtherRegisters {
  if (arch.machine === AARCH64.machine && descriptor.length >= PRSTATUS_AARCH64.size) {
    const { x, sp, pc, pstate } = PRSTATUS_AARCH64.decode(descriptor, arch.order);
    return { kind: "aarch64", x, sp, pc, pstate, system: {} };
  }
  const isX86 = arch.machine === X86_64.machine || arch.machine === I386.machine;
  if (isX86 && descriptor.length >= PRSTATUS_X86_64.size) {
    const state = PRSTATUS_X86_64.decode(descriptor, arch.order);
    const { fs_base, gs_base } = state;
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, state[name]]));
    return x86Of(general as Record<X86General, bigint>, { fs_base, gs_base });
  }
  if (isX86 && descriptor.length >= PRSTATUS_I386.size) {
    const state: Partial<Record<X86General, number>> = PRSTATUS_I386.decode(descriptor, arch.order);
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, BigInt(state[name] ?? 0)]));
    return x86Of(general as Record<X86General, bigint>, {});
  }
  const named = namedRegisters(descriptor, arch);
  return { kind: "other", prstatus: descriptor, ...named };
}

function x86Of(general: Record<X86General, bigint>, msrs: Record<string, bigint>): X86Registers {
  return { kind: "x86", general, segments: {}, control: {}, debug: {}, msrs };
}

/** Where an architecture that has no record of its own in the model runs, its stack, and all that its note holds. */
function namedRegisters(
  descriptor: Uint8Array,
  { machine, order }: Architecture,
): Pick<OtherRegisters, "pc" | "sp" | "named"> {
  const numbered = (letter: string, values: readonly (bigint | number)[]): Record<string, bigint> =>
    Object.fromEntries(values.map((value, i) => [`${letter}${i}`, BigInt(value)]));
  if (machine === ARM.machine && descriptor.length >= PRSTATUS_ARM.size) {
    const { r, cpsr } = PRSTATUS_ARM.decode(descriptor, order);
    const named = { ...numbered("r", r), cpsr: BigInt(cpsr) };
    return { pc: BigInt(r[15] ?? 0), sp: BigInt(r[13] ?? 0), named };
  }
  if (machine === PPC64.machine && descriptor.length >= PRSTATUS_PPC64.size) {
    const { r, nip, msr, ctr, lr, xer, cr, dar, dsisr } = PRSTATUS_PPC64.decode(descriptor, order);
    const named = { ...numbered("r", r), nip, msr, ctr, lr, xer, cr, dar, dsisr };
    return { pc: nip, sp: r[1] ?? 0n, named };
  }
  if (machine === S390X.machine && descriptor.length >= PRSTATUS_S390X.size) {
    const { r, a, psw_mask, psw_addr } = PRSTATUS_S390X.decode(descriptor, order);
    const named = { psw_mask, psw_addr, ...numbered("r", r), ...numbered("a", a) };
    return { pc: psw_addr, sp: r[15] ?? 0n, named };
  }
  return { named: {} };
}
