import { PRSTATUS_S390X } from "../../elf/prstatus.js";
import type { Architecture } from "./architecture.js";
import { numbered, otherRegisters } from "./prstatus-head.js";

/** z/Architecture. */
export const S390X: Architecture = {
  name: "s390x",
  machine: 22,
  bits: 64,
  order: "big",
  uname: "s390x",
  isUname: (machine) => machine.startsWith("s390x"),
  prstatus: {
    layout: PRSTATUS_S390X,
    decode(descriptor, order) {
      const { r, a, psw_mask, psw_addr } = PRSTATUS_S390X.decode(descriptor, order);
      const named = { psw_mask, psw_addr, ...numbered("r", r), ...numbered("a", a) };
      return otherRegisters(descriptor, psw_addr, r[15] ?? 0n, named);
    },
  },
};
