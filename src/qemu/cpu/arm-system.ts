import type { CpuFields } from "./fields.js";

/** System registers of EL1 by the array that has them, one element a level: of a running emulator. */
const ARRAYS = {
  sctlr_el1: "cp15.sctlr_el",
  ttbr0_el1: "cp15.ttbr0_el",
  ttbr1_el1: "cp15.ttbr1_el",
  tcr_el1: "cp15.tcr_el",
  mair_el1: "cp15.mair_el",
  vbar_el1: "cp15.vbar_el",
  esr_el1: "cp15.esr_el",
  far_el1: "cp15.far_el",
} as const;

/** System registers by op0, op1, CRn, CRm, op2: of a saved state, which lists them as KVM numbers them. */
const ENCODINGS: Readonly<Record<string, readonly [number, number, number, number, number]>> = {
  sctlr_el1: [3, 0, 1, 0, 0],
  cpacr_el1: [3, 0, 1, 0, 2],
  ttbr0_el1: [3, 0, 2, 0, 0],
  ttbr1_el1: [3, 0, 2, 0, 1],
  tcr_el1: [3, 0, 2, 0, 2],
  esr_el1: [3, 0, 5, 2, 0],
  far_el1: [3, 0, 6, 0, 0],
  par_el1: [3, 0, 7, 4, 0],
  mair_el1: [3, 0, 10, 2, 0],
  vbar_el1: [3, 0, 12, 0, 0],
  contextidr_el1: [3, 0, 13, 0, 1],
  tpidr_el1: [3, 0, 13, 0, 4],
  tpidr_el0: [3, 3, 13, 0, 2],
  tpidrro_el0: [3, 3, 13, 0, 3],
  cntkctl_el1: [3, 0, 14, 1, 0],
};
/** KVM's number of a 64-bit aarch64 system register, without its five parts. */
const KVM_SYSTEM_REGISTER = 0x6030_0000_0013_0000n;

const LIST = "cpreg_vmstate_indexes";

/** System registers by the architecture's names in lower case, as far as the source has them. */
export function armSystemRegisters(env: CpuFields): Record<string, bigint> {
  const system = env.has(LIST) ? listed(env) : inArrays(env);
  const levels = (field: string, from: number): void => {
    for (const [level, value] of env.bigints(field).entries())
      if (value !== undefined && level >= from) system[`${field}${level}`] = value;
  };
  levels("elr_el", 1);
  levels("sp_el", 0);
  return system;
}

function listed(env: CpuFields): Record<string, bigint> {
  const values = env.bigints("cpreg_vmstate_values");
  const byNumber = new Map(env.bigints(LIST).map((number, i) => [number, values[i]] as const));
  const system: Record<string, bigint> = {};
  for (const [name, [op0, op1, crn, crm, op2]] of Object.entries(ENCODINGS)) {
    const parts = (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
    const value = byNumber.get(KVM_SYSTEM_REGISTER | BigInt(parts));
    if (value !== undefined) system[name] = value;
  }
  return system;
}

function inArrays(env: CpuFields): Record<string, bigint> {
  const system: Record<string, bigint> = {};
  for (const [name, field] of Object.entries(ARRAYS)) {
    const value = env.bigints(field)[1];
    if (value !== undefined) system[name] = value;
  }
  return system;
}
