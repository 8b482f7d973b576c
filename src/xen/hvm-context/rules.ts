import { rules } from "../../findings/rule.js";

const SPEC = "Xen HVM save format";

/** What can be wrong inside HVM_CONTEXT. */
export const HVM_RULES = rules({
  empty: {
    code: "hvm-context/empty",
    severity: "error",
    spec: "libxc migration stream: HVM_CONTEXT",
    explanation: "The record holds the hypervisor's state of the domain and can't be empty.",
  },
  overrun: {
    code: "hvm-context/entry/overrun",
    severity: "error",
    spec: `${SPEC}: descriptor`,
    explanation:
      "An entry is announced to be longer than what is left of the record; nothing after it can be found.",
  },
  noHeader: {
    code: "hvm-context/header/missing",
    severity: "error",
    spec: `${SPEC}: HEADER`,
    explanation: "The first entry is the header: it says which format and which CPU the state is for.",
  },
  magic: {
    code: "hvm-context/header/magic",
    severity: "error",
    spec: `${SPEC}: HEADER`,
    explanation: "The header's magic is 0x54381286. With another one the hypervisor refuses the state.",
  },
  version: {
    code: "hvm-context/header/version",
    severity: "warning",
    spec: `${SPEC}: HEADER`,
    explanation: "Every release of Xen wrote version 1.",
  },
  unknown: {
    code: "hvm-context/entry/unknown",
    severity: "note",
    spec: `${SPEC}: entries`,
    explanation:
      "No release known here has such an entry. It may be of a newer Xen; an older one refuses it.",
  },
  duplicate: {
    code: "hvm-context/entry/duplicate",
    severity: "error",
    spec: `${SPEC}: entries`,
    explanation: "An entry of one type occurs once for each vCPU or device.",
  },
  cpuSize: {
    code: "hvm-context/cpu/size",
    severity: "error",
    spec: `${SPEC}: CPU`,
    explanation: "The CPU entry has 1032 bytes, or 1024 from older releases.",
  },
  xsave: {
    code: "hvm-context/xsave/implausible",
    severity: "error",
    spec: `${SPEC}: CPU_XSAVE`,
    explanation:
      "The entry starts with the feature mask, xcr0 and xcr0_accum, and xcr0 always has bit 0; then follow at least 576 bytes.",
  },
  noEnd: {
    code: "hvm-context/end/missing",
    severity: "error",
    spec: `${SPEC}: END`,
    explanation: "The chain of entries is closed by one of type 0 and length 0.",
  },
  endLength: {
    code: "hvm-context/end/not-empty",
    severity: "error",
    spec: `${SPEC}: END`,
    explanation: "The entry that closes the chain has no body.",
  },
  trailing: {
    code: "hvm-context/end/trailing",
    severity: "warning",
    spec: `${SPEC}: END`,
    explanation: "Bytes follow the entry that closes the chain; the hypervisor ignores them.",
  },
});
