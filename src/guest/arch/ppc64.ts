import { PRSTATUS_PPC64 } from "../../elf/prstatus.js";
import type { Architecture } from "./architecture.js";
import { numbered, otherRegisters } from "./prstatus-head.js";

/** 64-bit PowerPC, big endian. */
export const PPC64: Architecture = {
  name: "ppc64",
  machine: 21,
  bits: 64,
  order: "big",
  uname: "ppc64",
  isUname: (machine) => machine.startsWith("ppc64"),
  prstatus: {
    layout: PRSTATUS_PPC64,
    decode(descriptor, order) {
      const { r, nip, msr, ctr, lr, xer, cr, dar, dsisr } = PRSTATUS_PPC64.decode(descriptor, order);
      const named = { ...numbered("r", r), nip, msr, ctr, lr, xer, cr, dar, dsisr };
      return otherRegisters(descriptor, nip, r[1] ?? 0n, named);
    },
  },
};

/** 64-bit PowerPC, little endian. */
export const PPC64_LE: Architecture = { ...PPC64, order: "little", uname: "ppc64le" };
