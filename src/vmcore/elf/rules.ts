import { rules } from "../../findings/rule.js";

const SPEC = "gABI, Program Header; Linux kdump, ELF vmcore";

/** What can be wrong with an ELF vmcore. */
export const ELF_VMCORE_RULES = rules({
  truncated: {
    code: "vmcore/elf/truncated",
    severity: "error",
    spec: SPEC,
    explanation:
      "The file ends before the contents that its program headers announce: that memory is absent.",
  },
  notes: {
    code: "vmcore/elf/notes",
    severity: "error",
    spec: "gABI, Note Section",
    explanation: "The notes are damaged or cut: registers and VMCOREINFO may be missing.",
  },
  erased: {
    code: "vmcore/elf/erased",
    severity: "note",
    spec: "makedumpfile -x, --config",
    explanation:
      "makedumpfile erased data that its configuration named: those bytes are the eraser's, not the guest's. The message is its own account: what, and how many bytes.",
  },
  machine: {
    code: "vmcore/elf/machine",
    severity: "error",
    spec: "gABI, ELF Header, e_machine",
    explanation: "e_machine must be an architecture that vmcores are read of; docs list them.",
  },
  header: {
    code: "vmcore/elf/header",
    severity: "error",
    spec: SPEC,
    explanation: "The ELF header or the program headers are damaged: nothing else can be found.",
  },
  table: {
    code: "vmcore/elf/table",
    severity: "error",
    spec: SPEC,
    explanation:
      "The ELF header, program headers and notes must agree with each other and with the file: contents of segments follow one another, lengths in file and memory and both addresses fit. What doesn't is damaged; reading what is intact makes it anew where the rest says it.",
  },
  shifted: {
    code: "vmcore/elf/shifted",
    severity: "warning",
    spec: SPEC,
    explanation:
      "Contents end where the file does, or where the names of its sections begin. Other bytes that follow them may have been inserted before, and names that come too early show that bytes are missing: contents after that place are shifted, and nothing says which.",
  },
  empty: {
    code: "vmcore/elf/empty",
    severity: "error",
    spec: SPEC,
    explanation: "No program header describes physical memory.",
  },
  address: {
    code: "vmcore/elf/address",
    severity: "error",
    spec: SPEC,
    explanation: "A program header names physical memory beyond any address, or more contents than memory.",
  },
  overlap: {
    code: "vmcore/elf/overlap",
    severity: "warning",
    spec: SPEC,
    explanation:
      "Two program headers claim the same physical memory with different contents. The contents of the later one count.",
  },
  noPhysical: {
    code: "vmcore/elf/no-physical",
    severity: "error",
    spec: "Linux, fs/proc/kcore.c",
    explanation:
      "All program headers have p_paddr 0 at different virtual addresses, as /proc/kcore of kernels before 4.4 has them: physical addresses aren't in the file, and none are guessed.",
  },
  vmcoreInfo: {
    code: "vmcore/elf/vmcoreinfo",
    severity: "warning",
    spec: "Linux kdump, VMCOREINFO",
    explanation:
      "The page tables that the VMCOREINFO note names don't map the kernel's text where it says: the note is of another kernel, of one that ran before, or altered. Readers that believe it fail.",
  },
  leftOut: {
    code: "vmcore/elf/left-out",
    severity: "note",
    spec: SPEC,
    explanation:
      "A program header has less contents than memory (p_filesz below p_memsz): the program that wrote the dump left pages out, or knew them to be zero; the dump can't say which.",
  },
  headerSize: {
    code: "vmcore/elf/header-size",
    severity: "note",
    spec: "gABI, ELF Header",
    explanation:
      "e_ehsize is not the size of an ELF header. QEMU from 7.1 on writes 8 there; makedumpfile refuses such a file, others don't look.",
  },
});
