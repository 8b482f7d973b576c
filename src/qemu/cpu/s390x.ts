import { BLANK_PRSTATUS, PRSTATUS_S390X } from "../../elf/prstatus.js";
import { S390X } from "../../guest/image.js";
import type { OtherRegisters } from "../../guest/vcpu.js";
import type { Value } from "../core/value.js";

/** Registers out of a CPUS390XState, as NT_PRSTATUS holds them. */
export function s390xRegisters(env: Value, id: number): OtherRegisters {
  const r = env.bigints("regs");
  const a = env.bigints("aregs").map(Number);
  const [psw_mask, psw_addr] = [env.bigint("psw.mask"), env.bigint("psw.addr")];
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n, pr_pid: id + 1, orig_r2: 0n };
  const numbered = (letter: string, values: readonly (bigint | number)[]): Record<string, bigint> =>
    Object.fromEntries(values.map((value, i) => [`${letter}${i}`, BigInt(value)]));
  return {
    kind: "other",
    prstatus: PRSTATUS_S390X.encode({ ...blank, psw_mask, psw_addr, r, a }, S390X.order),
    pc: psw_addr,
    sp: r[15] ?? 0n,
    named: { psw_mask, psw_addr, ...numbered("r", r), ...numbered("a", a) },
  };
}
