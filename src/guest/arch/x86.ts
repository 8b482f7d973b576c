import { BLANK_PRSTATUS, PRSTATUS_I386, PRSTATUS_X86_64 } from "../../elf/prstatus.js";
import { X86_GENERAL, type X86General, type X86Registers, type X86SegmentName } from "../vcpu.js";
import type { Architecture, PrstatusCodec } from "./architecture.js";
import { prstatusHead } from "./prstatus-head.js";

const selectorOf =
  ({ segments }: X86Registers) =>
  (name: X86SegmentName): bigint =>
    BigInt(segments[name]?.selector ?? 0);

function x86Of(
  registers: Readonly<Record<X86General, bigint>>,
  msrs: Readonly<Record<string, bigint>>,
): X86Registers {
  // selectors alone are no segments: they stay in the raw note
  return { kind: "x86", general: registers, segments: {}, control: {}, debug: {}, msrs };
}

/** NT_PRSTATUS of x86_64. */
const prstatus64: PrstatusCodec = {
  layout: PRSTATUS_X86_64,
  encode(vcpu, order) {
    const { registers } = vcpu;
    if (registers?.kind !== "x86") return undefined;
    const selector = selectorOf(registers);
    return PRSTATUS_X86_64.encode(
      {
        ...prstatusHead(vcpu),
        ...registers.general,
        orig_rax: -1n,
        cs: selector("cs"),
        ss: selector("ss"),
        ds: selector("ds"),
        es: selector("es"),
        fs: selector("fs"),
        gs: selector("gs"),
        fs_base: registers.segments.fs?.base ?? registers.msrs.fs_base ?? 0n,
        gs_base: registers.segments.gs?.base ?? registers.msrs.gs_base ?? 0n,
      },
      order,
    );
  },
  decode(descriptor, order) {
    const state = PRSTATUS_X86_64.decode(descriptor, order);
    const { fs_base, gs_base } = state;
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, state[name]]));
    return x86Of(general as Record<X86General, bigint>, { fs_base, gs_base });
  },
};

/** NT_PRSTATUS of i386. */
const prstatus32: PrstatusCodec = {
  layout: PRSTATUS_I386,
  encode(vcpu, order) {
    const { registers } = vcpu;
    if (registers?.kind !== "x86") return undefined;
    const low = (value: bigint): number => Number(BigInt.asUintN(32, value));
    const selector = selectorOf(registers);
    const { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, rip, rflags } = registers.general;
    return PRSTATUS_I386.encode(
      {
        ...BLANK_PRSTATUS,
        pr_pid: vcpu.id + 1,
        pr_sigpend: 0,
        pr_sighold: 0,
        rbx: low(rbx),
        rcx: low(rcx),
        rdx: low(rdx),
        rsi: low(rsi),
        rdi: low(rdi),
        rbp: low(rbp),
        rax: low(rax),
        ds: low(selector("ds")),
        es: low(selector("es")),
        fs: low(selector("fs")),
        gs: low(selector("gs")),
        orig_rax: 0xffff_ffff,
        rip: low(rip),
        cs: low(selector("cs")),
        rflags: low(rflags),
        rsp: low(rsp),
        ss: low(selector("ss")),
      },
      order,
    );
  },
  decode(descriptor, order) {
    const state: Partial<Record<X86General, number>> = PRSTATUS_I386.decode(descriptor, order);
    const general = Object.fromEntries(X86_GENERAL.map((name) => [name, BigInt(state[name] ?? 0)]));
    return x86Of(general as Record<X86General, bigint>, {});
  },
};

/** x86_64. */
export const X86_64: Architecture = {
  name: "x86_64",
  machine: 62,
  bits: 64,
  order: "little",
  uname: "x86_64",
  isUname: (machine) => machine.startsWith("x86_64"),
  prstatus: prstatus64,
  otherNotes: [prstatus32],
};

/** i386. */
export const I386: Architecture = {
  name: "i386",
  machine: 3,
  bits: 32,
  order: "little",
  uname: "i686",
  isUname: (machine) => /^i[3-6]86$/.test(machine),
  prstatus: prstatus32,
  otherNotes: [prstatus64],
};
