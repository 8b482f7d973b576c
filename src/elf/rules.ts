import { rules } from "../findings/rule.js";

const GABI = "gABI, ELF Header, Sections, Program Header";
const CORE = "Linux kernel, fs/binfmt_elf.c, core notes";

/** What can be wrong with an ELF file, a process core or a debug file. */
export const ELF_RULES = rules({
  magic: {
    code: "elf/magic",
    severity: "error",
    spec: GABI,
    explanation: "An ELF file must start with 7f 45 4c 46.",
  },
  ident: {
    code: "elf/ident",
    severity: "error",
    spec: GABI,
    explanation: "e_ident must name the 32- or 64-bit class and a byte order.",
  },
  header: {
    code: "elf/header",
    severity: "error",
    spec: GABI,
    explanation:
      "The ELF header must have the sizes of its class: the tables it leads to can not be found otherwise.",
  },
  segments: {
    code: "elf/segments",
    severity: "error",
    spec: GABI,
    explanation: "The program header table must be in the file, with a plausible count.",
  },
  sections: {
    code: "elf/sections",
    severity: "error",
    spec: GABI,
    explanation: "The section header table must be in the file, with a plausible count and names.",
  },
  size: {
    code: "elf/size",
    severity: "error",
    spec: GABI,
    explanation:
      "A table or section is larger than what is held in memory. The header that announces it is damaged, or the file is not what it seems.",
  },
  truncated: {
    code: "elf/truncated",
    severity: "error",
    spec: GABI,
    explanation:
      "The file must hold all that its headers announce. It was cut, by a full disk or a size limit (ulimit -c).",
  },
  noteSize: {
    code: "elf/note/size",
    severity: "error",
    spec: "gABI, Note Section",
    explanation: "Name and descriptor of a note must be within the notes.",
  },
  sectionCompression: {
    code: "elf/section/compression",
    severity: "error",
    spec: "gABI, Section Compression",
    explanation: "A compressed section must unpack to the size its header states, with zlib or zstd.",
  },
  debuglink: {
    code: "elf/debuglink",
    severity: "error",
    spec: "GDB, Separate Debug Files",
    explanation: ".gnu_debuglink and .gnu_debugaltlink must hold a name and a checksum or build id.",
  },
  coreType: {
    code: "elf/core/type",
    severity: "error",
    spec: GABI,
    explanation: "The file must be an ELF core (ET_CORE).",
  },
  coreNote: {
    code: "elf/core/note",
    severity: "error",
    spec: CORE,
    explanation: "A note of a process core must have the size of its structure.",
  },
  coreNoAuxv: {
    code: "elf/core/no-auxv",
    severity: "error",
    spec: CORE,
    explanation:
      "The core must say where the program was loaded: an auxiliary vector with AT_PHDR or AT_ENTRY. A core of a machine, or one that lost its notes, does not.",
  },
  coreOtherProgram: {
    code: "elf/core/other-program",
    severity: "error",
    spec: CORE,
    explanation:
      "The program must be the one that the core is of: its load address must agree by every way to find it. Name the right program.",
  },
  debugFileNone: {
    code: "debug-file/none",
    severity: "error",
    spec: "GDB, Separate Debug Files",
    explanation:
      "The debugging information of the program is needed and was not found. Install the package with its debug file, or name the file.",
  },
  debugFileBuildId: {
    code: "debug-file/build-id",
    severity: "error",
    spec: "GDB, Separate Debug Files",
    explanation:
      "The build id of the debug file must be that of the program in the core: another build has other structures.",
  },
});
