import { BLANK_PRSTATUS, PRSTATUS_ARM } from "../../elf/prstatus.js";
import { AARCH64, AARCH64_BE, type Architecture, ARM } from "../../guest/image.js";
import type { Aarch64Registers, OtherRegisters } from "../../guest/vcpu.js";
import type { Value } from "../core/value.js";

const X_COUNT = 31;
const SIGN = 0x8000_0000;
/** SCTLR_EL1.EE: data of the kernel are big endian. */
const BIG_ENDIAN = 1n << 25n;
/** Interrupt masks in the status of a 32-bit state. */
const MASKS_32 = 0x1c0;

/** System registers that the model names, by their array of one a level; of EL1. */
const SYSTEM = {
  sctlr_el1: "cp15.sctlr_el",
  ttbr0_el1: "cp15.ttbr0_el",
  ttbr1_el1: "cp15.ttbr1_el",
  tcr_el1: "cp15.tcr_el",
  mair_el1: "cp15.mair_el",
  vbar_el1: "cp15.vbar_el",
  esr_el1: "cp15.esr_el",
  far_el1: "cp15.far_el",
} as const;

/** What guest runs on a CPUARMState: 32-bit code that has never left that state, or 64-bit code of either order. */
export function armArchitecture(env: Value): Architecture {
  if (!env.has("xregs")) return ARM;
  if (env.has("aarch64") && !env.flag("aarch64") && env.bigints("xregs").every((value) => value === 0n)) {
    return ARM;
  }
  return ((systemOf(env).sctlr_el1 ?? 0n) & BIG_ENDIAN) === 0n ? AARCH64 : AARCH64_BE;
}

/** Flags are kept apart: N and V in sign bits, Z inverted, C as a number. */
function conditionFlags(env: Value): number {
  const sign = (field: string): number => (env.number(field) & SIGN) >>> 0;
  const [n, v] = [sign("NF"), sign("VF") >>> 3];
  const z = env.number("ZF") === 0 ? 1 << 30 : 0;
  return (n | z | (env.number("CF") << 29) | v) >>> 0;
}

function systemOf(env: Value): Record<string, bigint> {
  const system: Record<string, bigint> = {};
  for (const [name, path] of Object.entries(SYSTEM)) {
    // TCR was a structure in some versions
    const element = env.type.field(path)?.type.peel().target;
    const value = element?.peel().kind === "base" ? env.bigints(path)[1] : undefined;
    if (value !== undefined) system[name] = value;
  }
  return system;
}

/** Registers of 64-bit code. */
export function aarch64Registers(env: Value): Aarch64Registers {
  const x = env.bigints("xregs");
  const kept = env.bigint("pstate") | (env.has("daif") ? env.bigint("daif") : 0n);
  return {
    kind: "aarch64",
    x: x.slice(0, X_COUNT),
    sp: x[X_COUNT] ?? 0n,
    pc: env.bigint("pc"),
    pstate: kept | BigInt(conditionFlags(env)),
    system: systemOf(env),
  };
}

/** Registers of 32-bit code, as its NT_PRSTATUS holds them. */
export function armRegisters(env: Value, id: number): OtherRegisters {
  const r = env.bigints("regs").map(Number);
  const condexec = env.numberOr0("condexec_bits");
  const cpsr =
    (env.number("uncached_cpsr") |
      conditionFlags(env) |
      (env.numberOr0("QF") << 27) |
      (env.numberOr0("thumb") << 5) |
      ((condexec & 3) << 25) |
      ((condexec & 0xfc) << 8) |
      (env.numberOr0("GE") << 16) |
      (env.numberOr0("daif") & MASKS_32)) >>>
    0;
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0, pr_sighold: 0, pr_pid: id + 1, orig_r0: 0 };
  const named = Object.fromEntries(r.map((value, i) => [`r${i}`, BigInt(value)]));
  return {
    kind: "other",
    prstatus: PRSTATUS_ARM.encode({ ...blank, r, cpsr }, ARM.order),
    pc: BigInt(r[15] ?? 0),
    sp: BigInt(r[13] ?? 0),
    named: { ...named, cpsr: BigInt(cpsr) },
  };
}
