import { PRSTATUS_AARCH64, PRSTATUS_ARM } from "../../elf/prstatus.js";
import type { Architecture, PrstatusCodec } from "./architecture.js";
import { numbered, otherRegisters, prstatusHead } from "./prstatus-head.js";

/** NT_PRSTATUS of aarch64. */
const prstatus64: PrstatusCodec = {
  layout: PRSTATUS_AARCH64,
  encode(vcpu, order) {
    const { registers } = vcpu;
    if (registers?.kind !== "aarch64") return undefined;
    const { x, sp, pc, pstate } = registers;
    return PRSTATUS_AARCH64.encode({ ...prstatusHead(vcpu), x, sp, pc, pstate }, order);
  },
  decode(descriptor, order) {
    const { x, sp, pc, pstate } = PRSTATUS_AARCH64.decode(descriptor, order);
    return { kind: "aarch64", x, sp, pc, pstate, system: {} };
  },
};

/** NT_PRSTATUS of 32-bit ARM. */
const prstatus32: PrstatusCodec = {
  layout: PRSTATUS_ARM,
  decode(descriptor, order) {
    const { r, cpsr } = PRSTATUS_ARM.decode(descriptor, order);
    const named = { ...numbered("r", r), cpsr: BigInt(cpsr) };
    return otherRegisters(descriptor, BigInt(r[15] ?? 0), BigInt(r[13] ?? 0), named);
  },
};

/** 64-bit ARM, little endian. */
export const AARCH64: Architecture = {
  name: "aarch64",
  machine: 183,
  bits: 64,
  order: "little",
  uname: "aarch64",
  isUname: (machine) => machine.startsWith("aarch64"),
  prstatus: prstatus64,
};

/** 64-bit ARM, big endian. */
export const AARCH64_BE: Architecture = { ...AARCH64, order: "big", uname: "aarch64_be" };

/** 32-bit ARM. */
export const ARM: Architecture = {
  name: "arm",
  machine: 40,
  bits: 32,
  order: "little",
  uname: "armv7l",
  isUname: (machine) => machine.startsWith("arm"),
  prstatus: prstatus32,
};
