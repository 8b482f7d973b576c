import { PRSTATUS_RISCV64, RISCV64_REGISTERS } from "../../elf/prstatus.js";
import type { Architecture } from "./architecture.js";
import { otherRegisters } from "./prstatus-head.js";

/** 64-bit RISC-V. */
export const RISCV64: Architecture = {
  name: "riscv64",
  machine: 243,
  bits: 64,
  order: "little",
  uname: "riscv64",
  isUname: (machine) => machine.startsWith("riscv64"),
  prstatus: {
    layout: PRSTATUS_RISCV64,
    decode(descriptor, order) {
      const { registers } = PRSTATUS_RISCV64.decode(descriptor, order);
      const named = Object.fromEntries(RISCV64_REGISTERS.map((name, i) => [name, registers[i] ?? 0n]));
      return otherRegisters(descriptor, named.pc ?? 0n, named.sp ?? 0n, named);
    },
  },
};
