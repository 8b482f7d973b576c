import { rules } from "../../findings/rule.js";

const SPEC = "structures of QEMU as its debug information declares them";

/** What can be wrong with the guest in a QEMU core or process. */
export const QEMU_CORE_RULES = rules({
  unreadable: {
    code: "qemu/core/unreadable",
    severity: "error",
    spec: SPEC,
    explanation:
      "What QEMU's structures point at must be in the core or process. It was cut, or that memory was left out.",
  },
  missing: {
    code: "qemu/core/missing",
    severity: "error",
    spec: "scripts/dump-guest-memory.py of QEMU",
    explanation:
      "All of the guest's memory must be in the core: this drop-in writes no partial dump, as the original.",
  },
  size: {
    code: "qemu/core/size",
    severity: "error",
    spec: SPEC,
    explanation:
      "A structure of QEMU must have a plausible size: the debugging information is of another build or damaged.",
  },
  field: {
    code: "qemu/core/field",
    severity: "error",
    spec: SPEC,
    explanation:
      "QEMU's structures must have the fields that are read, with the types they have in every known version.",
  },
  beyond64Bits: {
    code: "qemu/core/beyond-64-bits",
    severity: "error",
    spec: SPEC,
    explanation: "A guest-physical address must be below 2^64.",
  },
  notQemu: {
    code: "qemu/core/not-qemu",
    severity: "error",
    spec: SPEC,
    explanation: "The program must be a QEMU system emulator: it has address_space_memory and ram_list.",
  },
  noFlatView: {
    code: "qemu/core/no-flat-view",
    severity: "error",
    spec: SPEC,
    explanation: "The process must have a memory map: QEMU was still starting.",
  },
  flatView: {
    code: "qemu/core/flat-view",
    severity: "error",
    spec: SPEC,
    explanation:
      "The flat view must have a plausible number of ascending ranges, each with a region and below 2^53.",
  },
  rangeBounds: {
    code: "qemu/core/range-bounds",
    severity: "error",
    spec: SPEC,
    explanation: "A range of the flat view must be within its region.",
  },
  listLoop: {
    code: "qemu/core/list-loop",
    severity: "error",
    spec: SPEC,
    explanation: "The list of RAM blocks must end.",
  },
  aliasLoop: {
    code: "qemu/core/alias-loop",
    severity: "error",
    spec: SPEC,
    explanation: "The aliases of a memory region must lead to one with memory.",
  },
  ramBlock: {
    code: "qemu/core/ram-block",
    severity: "error",
    spec: SPEC,
    explanation: "Memory of a region must be in a RAM block of the list.",
  },
  commandLine: {
    code: "qemu/core/command-line",
    severity: "error",
    spec: "Linux, fs/binfmt_elf.c",
    explanation:
      "Without debug information the arguments QEMU was started with must be on the process's stack: they say how its memory is made up.",
  },
  ramMapping: {
    code: "qemu/core/ram-mapping",
    severity: "error",
    spec: "QEMU, qemu-options.hx: -m, -object memory-backend-…, -numa",
    explanation:
      "Without debug information each block of RAM that the command line asks for must be a mapping of its size and kind. A core may lack mappings that were left out of it.",
  },
  unproven: {
    code: "qemu/core/unproven",
    severity: "error",
    spec: "QEMU, hw/i386: pc_piix.c, pc_q35.c, microvm.c",
    explanation:
      "Without debug information something in guest memory must show that it is laid out right: a kernel's VMCOREINFO, page tables and text, the memory map in its boot_params, or firmware's tables. Else the addresses must be given.",
  },
  virtioMem: {
    code: "qemu/core/virtio-mem",
    severity: "error",
    spec: SPEC,
    explanation: "A virtio-mem device must have a plausible bitmap of plugged blocks.",
  },
});
