import { BLANK_PRSTATUS, PRSTATUS_ARM } from "../../elf/prstatus.js";
import { AARCH64, AARCH64_BE, ARM } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import type { Aarch64Registers, OtherRegisters } from "../../guest/vcpu.js";
import { armSystemRegisters } from "./arm-system.js";
import { type CpuFields, numbered, registerFile } from "./fields.js";

const X_COUNT = 31;
const R_COUNT = 16;
const SIGN = 0x8000_0000;
/** SCTLR_EL1.EE: data of the kernel are big endian. */
const BIG_ENDIAN = 1n << 25n;
/** Interrupt masks in the status of a 32-bit state. */
const MASKS_32 = 0x1c0;
/** Bits of the status: in a 32-bit state, and its mode there. */
const STATUS_32 = 0x10n;
const STATUS_MODE = 0x1fn;
const USER_32 = 0x10n;
/** The 32-bit user mode's r0 … r14 are x0 … x14. */
const USER_REGISTERS = 15;

/** What guest runs on a CPUARMState: 32-bit code that has never left that state, or 64-bit code of either order. */
export function armArchitecture(env: CpuFields): Architecture {
  if (!env.has("xregs") || isNarrow(env)) return ARM;
  return ((armSystemRegisters(env)["sctlr_el1"] ?? 0n) & BIG_ENDIAN) === 0n ? AARCH64 : AARCH64_BE;
}

/** Whether a vCPU has never been in a 64-bit state: there is room for the registers, but nothing in them. */
function isNarrow(env: CpuFields): boolean {
  const saved = env.bigint("cpsr");
  const is32 = saved === undefined ? env.bigint("aarch64") === 0n : (saved & STATUS_32) !== 0n;
  const wide = saved === undefined ? ["xregs"] : ["xregs", "sp_el", "elr_el"];
  return is32 && wide.every((name) => env.bigints(name).every((value) => (value ?? 0n) === 0n));
}

/** Flags that a running emulator keeps apart: N and V in sign bits, Z inverted, C as a number. */
function conditionFlags(env: CpuFields): number {
  const field = (name: string): number => Number(env.bigint(name) ?? 0n);
  const sign = (name: string): number => (field(name) & SIGN) >>> 0;
  const [n, v] = [sign("NF"), sign("VF") >>> 3];
  const z = field("ZF") === 0 ? 1 << 30 : 0;
  return (n | z | (field("CF") << 29) | v) >>> 0;
}

/** PSTATE of 64-bit code: saved whole (as `cpsr`, whatever the state is), or put together of its parts. */
function statusOf(env: CpuFields): bigint | undefined {
  const saved = env.bigint("cpsr");
  if (saved !== undefined) return saved;
  const kept = env.bigint("pstate");
  return kept === undefined ? undefined : kept | (env.bigint("daif") ?? 0n) | BigInt(conditionFlags(env));
}

/** CPSR of 32-bit code: saved whole, or put together of its parts. */
function status32Of(env: CpuFields): bigint | undefined {
  const saved = env.bigint("cpsr");
  if (saved !== undefined) return saved;
  const kept = env.bigint("uncached_cpsr");
  if (kept === undefined) return undefined;
  const part = (name: string): number => Number(env.bigint(name) ?? 0n);
  const condexec = part("condexec_bits");
  const cpsr =
    Number(kept) |
    conditionFlags(env) |
    (part("QF") << 27) |
    (part("thumb") << 5) |
    ((condexec & 3) << 25) |
    ((condexec & 0xfc) << 8) |
    (part("GE") << 16) |
    (part("daif") & MASKS_32);
  return BigInt(cpsr >>> 0);
}

/** Registers of 64-bit code; undefined when some are missing. */
export function aarch64Registers(env: CpuFields): Aarch64Registers | undefined {
  const x = registerFile(env, "xregs", X_COUNT + 1);
  let pc = env.bigint("pc");
  const pstate = statusOf(env);
  if (x === undefined || pstate === undefined) return undefined;
  if ((pstate & STATUS_32) !== 0n) {
    // a 32-bit program was running: its registers are kept apart
    const narrow = env.bigints("regs");
    pc = narrow[USER_REGISTERS] ?? pc;
    if ((pstate & STATUS_MODE) === USER_32)
      for (const [i, value] of narrow.slice(0, USER_REGISTERS).entries()) x[i] = value ?? 0n;
  }
  if (pc === undefined) return undefined;
  return {
    kind: "aarch64",
    x: x.slice(0, X_COUNT),
    sp: x[X_COUNT] ?? 0n,
    pc,
    pstate,
    system: armSystemRegisters(env),
  };
}

/** Registers of 32-bit code, as its NT_PRSTATUS holds them; undefined when some are missing. */
export function armRegisters(env: CpuFields, id: number): OtherRegisters | undefined {
  const r = registerFile(env, "regs", R_COUNT);
  const cpsr = status32Of(env);
  if (r === undefined || cpsr === undefined) return undefined;
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0, pr_sighold: 0, pr_pid: id + 1, orig_r0: 0 };
  return {
    kind: "other",
    prstatus: PRSTATUS_ARM.encode({ ...blank, r: r.map(Number), cpsr: Number(cpsr) }, ARM.order),
    pc: r[15] ?? 0n,
    sp: r[13] ?? 0n,
    named: { ...numbered("r", r), cpsr },
  };
}
