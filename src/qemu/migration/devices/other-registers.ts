import { BLANK_PRSTATUS, PRSTATUS_ARM, PRSTATUS_PPC64, PRSTATUS_S390X } from "../../../elf/prstatus.js";
import { type Architecture, ARM, PPC64, PPC64_LE, RISCV64, S390X } from "../../../guest/image.js";
import type { OtherRegisters } from "../../../guest/vcpu.js";
import { bigOf, type DeviceState, fieldOf, listOf } from "./devices.js";

const SPR = { xer: 1, dsisr: 18, dar: 19, lr: 8, ctr: 9, lpcr: 318 } as const;
const MSR_LITTLE = 1n;
/** Interrupts are taken in little-endian mode: the kernel runs so, whatever runs now. */
const LPCR_LITTLE = 0x0200_0000n;
/** Bits of one field of the condition register. */
const CONDITION = 4n;

const HEAD = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n };

/** Fields that only one architecture's processors have. */
const TELLING: readonly (readonly [string, (cpu: DeviceState) => Architecture])[] = [
  ["env.psw.mask", () => S390X],
  ["env.nip", (cpu) => (isLittlePower(cpu) ? PPC64_LE : PPC64)],
  ["env.mhartid", () => RISCV64],
];

/** Architecture of a processor that is neither x86 nor ARM. */
export function otherArchitecture(cpu: DeviceState): Architecture | undefined {
  return TELLING.find(([field]) => fieldOf(cpu, field) !== undefined)?.[1](cpu);
}

/** Registers of a processor that the model keeps as its NT_PRSTATUS has them. */
export function otherRegisters(cpu: DeviceState, id: number, arch: Architecture): OtherRegisters | undefined {
  switch (arch.machine) {
    case ARM.machine:
      return arm(cpu, id);
    case PPC64.machine:
      return power(cpu, id, arch);
    case S390X.machine:
      return s390(cpu, id);
    default:
      return undefined;
  }
}

function values(cpu: DeviceState, field: string, length: number): bigint[] | undefined {
  const found = listOf(fieldOf(cpu, field)).map((value) => bigOf(value) ?? 0n);
  return found.length < length ? undefined : found.slice(0, length);
}

function numbered(letter: string, registers: readonly bigint[]): Record<string, bigint> {
  return Object.fromEntries(registers.map((value, i) => [`${letter}${i}`, value]));
}

function arm(cpu: DeviceState, id: number): OtherRegisters | undefined {
  const r = values(cpu, "env.regs", 16);
  const cpsr = bigOf(fieldOf(cpu, "cpsr"));
  if (r === undefined || cpsr === undefined) return undefined;
  const prstatus = PRSTATUS_ARM.encode(
    {
      ...BLANK_PRSTATUS,
      pr_pid: id + 1,
      pr_sigpend: 0,
      pr_sighold: 0,
      r: r.map(Number),
      cpsr: Number(cpsr),
      orig_r0: 0,
    },
    ARM.order,
  );
  return { kind: "other", prstatus, pc: r[15] ?? 0n, sp: r[13] ?? 0n, named: { ...numbered("r", r), cpsr } };
}

function spr(cpu: DeviceState, number: number): bigint {
  return bigOf(listOf(fieldOf(cpu, "env.spr"))[number]) ?? 0n;
}

function isLittlePower(cpu: DeviceState): boolean {
  const msr = bigOf(fieldOf(cpu, "env.msr")) ?? 0n;
  return (msr & MSR_LITTLE) !== 0n || (spr(cpu, SPR.lpcr) & LPCR_LITTLE) !== 0n;
}

function power(cpu: DeviceState, id: number, { order }: Architecture): OtherRegisters | undefined {
  const r = values(cpu, "env.gpr", 32);
  const nip = bigOf(fieldOf(cpu, "env.nip"));
  const msr = bigOf(fieldOf(cpu, "env.msr"));
  if (r === undefined || nip === undefined || msr === undefined) return undefined;
  const fields = listOf(fieldOf(cpu, "env.crf"));
  const cr = fields.reduce((sum: bigint, field) => (sum << CONDITION) | (bigOf(field) ?? 0n), 0n);
  const special = {
    ctr: spr(cpu, SPR.ctr),
    lr: spr(cpu, SPR.lr),
    xer: spr(cpu, SPR.xer),
    cr,
    dar: spr(cpu, SPR.dar),
    dsisr: spr(cpu, SPR.dsisr),
  };
  const rest = { orig_r3: 0n, softe: 0n, trap: 0n, result: 0n, rest: new Uint8Array(0) };
  const prstatus = PRSTATUS_PPC64.encode(
    { ...HEAD, pr_pid: id + 1, r, nip, msr, ...special, ...rest },
    order,
  );
  return {
    kind: "other",
    prstatus,
    pc: nip,
    sp: r[1] ?? 0n,
    named: { ...numbered("r", r), nip, msr, ...special },
  };
}

function s390(cpu: DeviceState, id: number): OtherRegisters | undefined {
  const r = values(cpu, "env.regs", 16);
  const a = values(cpu, "env.aregs", 16);
  const psw_mask = bigOf(fieldOf(cpu, "env.psw.mask"));
  const psw_addr = bigOf(fieldOf(cpu, "env.psw.addr"));
  if (r === undefined || a === undefined || psw_mask === undefined || psw_addr === undefined)
    return undefined;
  const control = values(cpu, "env.cregs", 16) ?? [];
  const prstatus = PRSTATUS_S390X.encode(
    { ...HEAD, pr_pid: id + 1, psw_mask, psw_addr, r, a: a.map(Number), orig_r2: 0n },
    S390X.order,
  );
  const named = { psw_mask, psw_addr, ...numbered("r", r), ...numbered("a", a), ...numbered("c", control) };
  return { kind: "other", prstatus, pc: psw_addr, sp: r[15] ?? 0n, named };
}
