import { BLANK_PRSTATUS } from "../../elf/prstatus.js";
import type { OtherRegisters, Vcpu } from "../vcpu.js";

/** The part of a 64-bit NT_PRSTATUS before the registers, for a vCPU. */
export function prstatusHead(vcpu: Vcpu): typeof BLANK_PRSTATUS & {
  readonly pr_pid: number;
  readonly pr_sigpend: bigint;
  readonly pr_sighold: bigint;
} {
  return { ...BLANK_PRSTATUS, pr_pid: vcpu.id + 1, pr_sigpend: 0n, pr_sighold: 0n };
}

/** A vCPU's registers as the descriptor that a dump brought, and what is named in it. */
export function otherRegisters(
  prstatus: Uint8Array,
  pc: bigint,
  sp: bigint,
  named: Readonly<Record<string, bigint>>,
): OtherRegisters {
  return { kind: "other", prstatus, pc, sp, named };
}

/** Registers by number: `r0`, `r1` … */
export function numbered(letter: string, values: readonly (bigint | number)[]): Record<string, bigint> {
  return Object.fromEntries(values.map((value, i) => [`${letter}${i}`, BigInt(value)]));
}
