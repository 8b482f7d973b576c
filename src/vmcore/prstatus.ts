import type { ByteOrder } from "../binary/layout.js";
import {
  BLANK_PRSTATUS,
  PRSTATUS_AARCH64,
  PRSTATUS_ARM,
  PRSTATUS_I386,
  PRSTATUS_PPC64,
  PRSTATUS_S390X,
  PRSTATUS_X86_64,
} from "../elf/prstatus.js";
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

/** The descriptor of one processor's NT_PRSTATUS; undefined when its registers are not known. */
export function encodePrstatus(vcpu: Vcpu, arch: Architecture): Uint8Array | undefined {
  const { registers } = vcpu;
  if (registers === undefined) return undefined;
  if (registers.kind === "other") return registers.prstatus;
  // a dump read by us goes out as it came in
  const kept = vcpu.raw?.prstatus;
  if (kept !== undefined && kept.length === prstatusLayout(registers, arch).size) return kept;
  const common = { ...BLANK_PRSTATUS, pr_pid: vcpu.id + 1 };
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
