import { BLANK_PRSTATUS, PRSTATUS_S390X } from "../../elf/prstatus.js";
import { S390X } from "../../guest/arch/s390x.js";
import type { OtherRegisters } from "../../guest/vcpu.js";
import { type CpuFields, numbered, registerFile } from "./fields.js";

const COUNT = 16;

/** Registers out of a CPUS390XState, as NT_PRSTATUS holds them; undefined when some are missing. */
export function s390xRegisters(env: CpuFields, id: number): OtherRegisters | undefined {
  const r = registerFile(env, "regs", COUNT);
  const a = registerFile(env, "aregs", COUNT);
  const [psw_mask, psw_addr] = [env.bigint("psw.mask"), env.bigint("psw.addr")];
  if (r === undefined || a === undefined || psw_mask === undefined || psw_addr === undefined)
    return undefined;
  const control = registerFile(env, "cregs", COUNT) ?? [];
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n, pr_pid: id + 1, orig_r2: 0n };
  return {
    kind: "other",
    prstatus: PRSTATUS_S390X.encode({ ...blank, psw_mask, psw_addr, r, a: a.map(Number) }, S390X.order),
    pc: psw_addr,
    sp: r[15] ?? 0n,
    named: { psw_mask, psw_addr, ...numbered("r", r), ...numbered("a", a), ...numbered("c", control) },
  };
}
