import { BLANK_PRSTATUS, PRSTATUS_RISCV64 } from "../../elf/prstatus.js";
import { RISCV64 } from "../../guest/arch/riscv64.js";
import type { OtherRegisters } from "../../guest/vcpu.js";
import { type CpuFields, namedRegisters, numbered, registerFile } from "./fields.js";

const COUNT = 32;

/** Control and status registers, by the name they are shown by and the field that holds them. */
const CONTROL = {
  mhartid: "mhartid",
  mstatus: "mstatus",
  satp: "satp",
  stvec: "stvec",
  sepc: "sepc",
  scause: "scause",
  stval: "stval",
  sscratch: "sscratch",
  mtvec: "mtvec",
  mepc: "mepc",
  mcause: "mcause",
  mtval: "mtval",
  priv: "priv",
} as const;

/** Extension state of mstatus: each field of two bits is 3 when it is dirty (RISC-V Privileged, machine status registers). */
const EXTENSION_FIELDS = { fs: 13n, vs: 9n, xs: 15n } as const;
const DIRTY = 3n;
/** SD: set when any of them is dirty. It is made when the register is read, not kept. */
const SUMMARY = 1n << 63n;

function asRead(mstatus: bigint): bigint {
  const isDirty = Object.values(EXTENSION_FIELDS).some((at) => ((mstatus >> at) & DIRTY) === DIRTY);
  return isDirty ? mstatus | SUMMARY : mstatus & ~SUMMARY;
}

/** Registers out of a CPURISCVState, as NT_PRSTATUS holds them; undefined when some are missing. */
export function riscv64Registers(env: CpuFields, id: number): OtherRegisters | undefined {
  const x = registerFile(env, "gpr", COUNT);
  const pc = env.bigint("pc");
  if (x === undefined || pc === undefined) return undefined;
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n, pr_pid: id + 1 };
  const control = namedRegisters(env, CONTROL);
  const { mstatus } = control;
  // x0 is zero always: its place holds pc
  const registers = [pc, ...x.slice(1)];
  return {
    kind: "other",
    prstatus: PRSTATUS_RISCV64.encode({ ...blank, registers, fpvalid: new Uint8Array(8) }, RISCV64.order),
    pc,
    sp: x[2] ?? 0n,
    named: {
      pc,
      ...numbered("x", x),
      ...control,
      ...(mstatus === undefined ? {} : { mstatus: asRead(mstatus) }),
    },
  };
}
