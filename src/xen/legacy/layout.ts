import { array, i32, layout, text, u32, u64, u64big } from "../../binary/layout.js";

const SPEC = "legacy Xen migration stream (Xen 3.x to 4.5)";

/** Word size of the toolstack that wrote a stream, in bits: the size of the stream's `ulong`. */
export type ToolstackWidth = 32 | 64;
/** Kind of guest, which decides on the structure of a stream. */
export type GuestKind = "hvm" | "pv";

/** Bytes of a page. */
export const PAGE = 4096;
/** The largest p2m_size that a sender accepts: pfns take 28 bits. */
export const P2M_SIZE_LIMIT = 0x0fffffff;
/** Entries of a page batch at most. */
export const BATCH_LIMIT = 1024;
/** The highest vCPU id. */
export const VCPU_ID_LIMIT = 4095;
/** The largest body that a record of the new format may have. */
export const CARRIED_LIMIT = 128 << 20;
/** Bytes of a compressed chunk at most. */
export const COMPRESSED_LIMIT = 64 << 20;

/** Ids of chunks; a positive number is a batch of that many pages, zero ends the body. */
export const CHUNK = {
  endOfBody: 0,
  verifyMode: -1,
  vcpuInfo: -2,
  tmem: -5,
  tmemExtra: -6,
  tscInfo: -7,
  lastCheckpoint: -9,
  compressedData: -12,
  enableCompression: -13,
  toolstack: -18,
} as const;

/** A kind of chunk that carries one HVM parameter. */
export interface ParameterChunk {
  readonly name: string;
  /** Index of the HVM parameter it sets. */
  readonly index: number;
}

/** Chunks that carry one HVM parameter. */
export const PARAMETER_CHUNKS: ReadonlyMap<number, ParameterChunk> = new Map([
  [-3, { name: "HVM_IDENT_PT", index: 12 }],
  [-4, { name: "HVM_VM86_TSS", index: 15 }],
  [-8, { name: "HVM_CONSOLE_PFN", index: 17 }],
  [-10, { name: "HVM_ACPI_IOPORTS_LOCATION", index: 19 }],
  [-11, { name: "HVM_VIRIDIAN", index: 9 }],
  [-14, { name: "HVM_GENERATION_ID_ADDR", index: 34 }],
  [-15, { name: "HVM_PAGING_RING_PFN", index: 27 }],
  [-16, { name: "HVM_ACCESS_RING_PFN", index: 28 }],
  [-17, { name: "HVM_SHARING_RING_PFN", index: 29 }],
  [-19, { name: "HVM_IOREQ_SERVER_PFN", index: 32 }],
  [-20, { name: "HVM_NR_IOREQ_SERVER_PAGES", index: 33 }],
  [-21, { name: "HVM_X87_FIP_WIDTH", index: 36 }],
]);

const OTHER_CHUNKS: ReadonlyMap<number, string> = new Map([
  [CHUNK.endOfBody, "END_OF_BODY"],
  [CHUNK.verifyMode, "ENABLE_VERIFY_MODE"],
  [CHUNK.vcpuInfo, "VCPU_INFO"],
  [CHUNK.tmem, "TMEM"],
  [CHUNK.tmemExtra, "TMEM_EXTRA"],
  [CHUNK.tscInfo, "TSC_INFO"],
  [CHUNK.lastCheckpoint, "LAST_CHECKPOINT"],
  [CHUNK.compressedData, "COMPRESSED_DATA"],
  [CHUNK.enableCompression, "ENABLE_COMPRESSION"],
  [CHUNK.toolstack, "TOOLSTACK"],
]);

/** Name of a chunk, undefined for ids that no receiver knows. */
export function chunkName(id: number): string | undefined {
  if (id > 0) return "PAGES";
  return OTHER_CHUNKS.get(id) ?? PARAMETER_CHUNKS.get(id)?.name;
}

/** TSC modes are below it. */
export const TSC_MODE_LIMIT = 4;

/** Page types: bits 31–28 of an entry of a batch. */
export const TYPE = { normal: 0, broken: 13, allocateOnly: 14, invalid: 15 } as const;

/** Whether entries of a page type have 4096 bytes of contents. */
export function hasData(type: number): boolean {
  return type < 5 || (type > 8 && type < 13);
}

/** Whether a page type is that of a page table, pinned or not. */
export function isPageTable(type: number): boolean {
  return type !== TYPE.normal && hasData(type);
}

/** Bytes of a vCPU's context by the guest's word size. */
export const VCPU_CONTEXT = { 8: 5168, 4: 2800 } as const;
/** Bytes of a vCPU's extended context. */
export const VCPU_EXTENDED = 128;
/** Bytes that the `xcnt` value counts beyond the XSAVE area: mask and size. */
export const XSAVE_HEAD = 16;
/** The largest `xcnt`: an XSAVE area of any CPU is a few KiB. */
export const XSAVE_LIMIT: number = 64 << 10;
/** `flags` in a vCPU's context, and the bit in it that says the vCPU is online. */
export const VCPU_FLAGS_OFFSET = 512;
/** Bit of the flags that says that a vCPU is online. */
export const VCPU_ONLINE = 1 << 5;

/** Bytes of every signature of a QEMU record. */
export const QEMU_SIGNATURE_SIZE = 21;
/** Signatures of the QEMU record; `sized`: a u32 length follows, otherwise the data run to the end of the stream. */
export const QEMU_SIGNATURES: ReadonlyMap<string, { readonly sized: boolean }> = new Map([
  ["DeviceModelRecord0002", { sized: true }],
  ["RemusDeviceModelState", { sized: true }],
  ["QemuDeviceModelRecord", { sized: false }],
]);

/** Parameters set from the tail of an HVM stream. */
export const TAIL_PARAMETER = { ioreqPfn: 5, bufferedIoreqPfn: 6, storePfn: 1 } as const;

/** The only version of the toolstack chunk. */
export const TOOLSTACK_VERSION = 1;
/** Bytes of leftover heap after each name when a 64-bit toolstack wrote it. */
export const PHYSMAP_SURPLUS = { 32: 0, 64: 4 } as const;

/** Header of a block of the extended info. */
export const EXTENDED_BLOCK = layout("legacy extended info block", `${SPEC}: header, extended info`, {
  id: text(4, "vcpu, extv or xcnt"),
  size: u32("bytes that follow"),
});

/** Body of a chunk that carries one HVM parameter. */
export const PARAMETER = layout("legacy parameter chunk", `${SPEC}: chunks -3 to -21`, {
  pad: u32("zero, ignored"),
  value: u64big("value of the HVM parameter; 0 is ignored"),
});

/** Body of the TSC info chunk. */
export const TSC_INFO = layout("legacy TSC info chunk", `${SPEC}: chunk -7`, {
  mode: u32("TSC mode"),
  nsec: u64big("elapsed time in nanoseconds"),
  khz: u32("TSC frequency"),
  incarnation: u32("how often the guest was restored"),
});

/** Start of a tmem chunk. */
export const TMEM_HEAD = layout("legacy tmem chunk", `${SPEC}: chunk -5`, {
  version: u32("version of the tmem save format"),
  maxPools: u32("most pools of a client"),
  mark1: u32("0xffffffff"),
  flags: u32("flags of the client"),
  weight: u32("weight of the client"),
  cap: u32("cap of the client"),
  mark2: u32("0xffffffff"),
});

/** One pool of a tmem chunk, after its id. */
export const TMEM_POOL = layout("legacy tmem pool, after its id", `${SPEC}: chunk -5`, {
  flags: u32("bit 0 persistent; bits 4–7 page size as 2^(12 + n)"),
  pages: u32("most pages that follow"),
  uuid: array(u64big("word"), 2, "unique id"),
});

/** Bytes of an object id and page index in front of each tmem page. */
export const TMEM_OID_SIZE = 24;

/** Start of the tail of an HVM guest. */
export const HVM_TAIL = layout("legacy HVM tail", `${SPEC}: tail`, {
  ioreqPfn: u64big("HVM parameter 5"),
  bufferedIoreqPfn: u64big("HVM parameter 6"),
  storePfn: u64big("HVM parameter 1"),
  contextLength: u32("bytes of the HVM context"),
});

/** Start of the toolstack chunk. */
export const TOOLSTACK_HEAD = layout("legacy toolstack chunk", `${SPEC}: chunk -18`, {
  version: u32("1"),
  count: u32("entries of QEMU's physmap"),
});

/** One entry of QEMU's physmap in the toolstack chunk; its name follows. */
export const PHYSMAP_ENTRY = layout("legacy toolstack physmap entry", `${SPEC}: chunk -18`, {
  physOffset: u64big("where QEMU holds the memory"),
  startAddr: u64big("guest-physical address"),
  size: u64big("bytes"),
  nameLength: u32("bytes of the name with its NUL; 0: no name"),
});

/** What comes before a vCPU's XSAVE area. */
export const XSAVE_PREFIX = layout("legacy vCPU XSAVE prefix", `${SPEC}: tail`, {
  mask: u64big("features of the area"),
  size: u64("bytes of the area"),
});

/** Start of the vCPU info chunk; the map follows. */
export const VCPU_INFO = layout("legacy vCPU info chunk", `${SPEC}: chunk -2`, {
  maxId: i32("highest vCPU id; a bitmap of maxId/64 + 1 words follows"),
});

/** Structures of fixed layout, for documentation. */
export const LEGACY_LAYOUTS = [
  EXTENDED_BLOCK,
  VCPU_INFO,
  PARAMETER,
  TSC_INFO,
  TMEM_HEAD,
  TMEM_POOL,
  TOOLSTACK_HEAD,
  PHYSMAP_ENTRY,
  HVM_TAIL,
  XSAVE_PREFIX,
] as const;
