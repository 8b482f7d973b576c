export { codeAround, type CodeWindow } from "./code.js";
export { isDamage, withoutDamage } from "./damage.js";
export {
  type Facts,
  type GuestImage,
  type HypervisorFacts,
  type NamedBlock,
  type VmcoreInfo,
} from "./image.js";
export { type FormatReader, type InputFormat, type InputReader } from "./input-format.js";
export { type KernelLayout, kernelTextMapping } from "./kernel/kernel-layout.js";
export { withVmcoreInfo } from "./kernel/brought-vmcoreinfo.js";
export {
  findVmcoreInfo,
  isVmcoreInfo,
  kernelBanner,
  parseVmcoreInfo,
} from "./kernel/vmcoreinfo.js";
export {
  isUnpopulated,
  type MemoryPiece,
  type MemoryRange,
  memoryTotals,
  type MemoryTotals,
  PAGE_SIZE,
  type PhysicalMemory,
  type Presence,
  type SourcePiece,
} from "./memory.js";
export { type PageDecoder, PageMap, type PageMapOptions, type PagePlace } from "./page-map.js";
export {
  longMode,
  lookUp,
  type Mapping,
  mappings,
  type Paging,
  type PagingMode,
  pagingOf,
  readVirtual,
  translate,
  type Translation,
} from "./paging/walk.js";
export { type Software, softwareOf } from "./kernel/software.js";
export {
  type Aarch64Registers,
  completeGeneral,
  type OtherRegisters,
  type Segment,
  summarizeVcpu,
  type Vcpu,
  type VcpuNote,
  type VcpuSummary,
  X86_GENERAL,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "./vcpu.js";
