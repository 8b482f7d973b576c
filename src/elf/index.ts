export { imageAt, loadBias, type LoadBias, type LoadedImage, mainImage, ProcessCore } from "./core.js";
export {
  type CoreProcess,
  type CoreThread,
  prpsinfoLayouts,
  PRSTATUS_HEAD_32,
  PRSTATUS_HEAD_64,
  readAuxv,
  readFileNote,
  readPrpsinfo,
  readPrstatus,
} from "./core-notes.js";
export { buildIdOf, type DebugAltLink, type DebugLink, ElfFile, stringAt } from "./file.js";
export {
  chdr64,
  type Ehdr,
  type ElfBits,
  elfIdent,
  elfLayouts,
  nhdr,
  NT_GNU_BUILD_ID,
  NT_PRSTATUS,
  type Phdr,
  PN_XNUM,
  type Shdr,
  SHN_XINDEX,
  type Sym,
} from "./layout.js";
export { type ElfNote, encodeNote, type NotesPlace, readNotes } from "./notes.js";
export {
  type MappedFile,
  mappedFileAt,
  type ProcessMemory,
  type ProcessPiece,
  type ProcessPresence,
  processSource,
} from "./process-memory.js";
export {
  BLANK_PRSTATUS,
  PRSTATUS_AARCH64,
  PRSTATUS_ARM,
  PRSTATUS_I386,
  PRSTATUS_PPC64,
  PRSTATUS_RISCV64,
  PRSTATUS_S390X,
  PRSTATUS_X86_64,
  RISCV64_REGISTERS,
} from "./prstatus.js";
export type { SegmentTable } from "./segments.js";
export { type ElfSymbol, SymbolTable } from "./symbols.js";
export {
  buildIdPath,
  type DebugArtifact,
  type DebugFileAccess,
  type DebugFileQuery,
  type DebugFiles,
  findDebugFiles,
  hasDebugInfo,
} from "./debug-file.js";
