import { inOrder, layout, u8, u16, u32, u64, u64big } from "../../binary/layout.js";

const SPEC = "libxc migration stream";

/** First eight bytes of a libxc stream. */
export const IMAGE_MARKER = 0xffff_ffff_ffff_ffffn;
/** `XENF`. */
export const IMAGE_ID = 0x58454e46;
/** Bits of the image header's options. */
export const IMAGE_OPTIONS = { bigEndian: 1 << 0 } as const;
/** Bits of the options that must be 0. */
export const IMAGE_RESERVED_OPTIONS = 0xfffe;
/** Versions of the libxc stream. */
export const IMAGE_VERSIONS: readonly number[] = [2, 3];

/** The first header of a libxc stream, always big endian. */
export const imageHeader = layout("libxc image header", `${SPEC}: image header`, {
  marker: inOrder("big", u64big("all ones: no legacy stream starts so")),
  id: inOrder("big", u32("'XENF', 0x58454e46")),
  version: inOrder("big", u32("2 or 3")),
  options: inOrder("big", u16("bit 0: big endian after this header")),
  reserved1: inOrder("big", u16("0")),
  reserved2: inOrder("big", u32("0")),
});

/** In stream order, like everything below. */
export const domainHeader = layout("libxc domain header", `${SPEC}: domain header`, {
  type: u32("1 x86 PV, 2 x86 HVM (a PVH guest too)"),
  pageShift: u16("12: pages of 4096 bytes"),
  reserved1: u16("0"),
  xenMajor: u32("version of Xen that saved; 0: made by a converter"),
  xenMinor: u32("minor version, or the converter's version"),
});

/** Kinds of guests, as the domain header has them. */
export const DOMAIN_TYPE = { x86Pv: 1, x86Hvm: 2 } as const;

/** Header of every record; the body follows, padded to a multiple of 8 bytes. */
export const recordHeader = layout("libxc record header", `${SPEC}: records`, {
  type: u32("kind of record; from 0x80000000 on optional"),
  bodyLength: u32("bytes of the body, without padding to 8; at most 128 MiB"),
});

/** Xen's own reader refuses larger bodies. */
export const MAX_BODY_LENGTH: number = 128 << 20;
/** From this type on a record that isn't known may be passed over. */
export const OPTIONAL_TYPE = 0x8000_0000;

/** Types of records, by the names of the specification. */
export const LIBXC_RECORD = {
  END: 0x00,
  PAGE_DATA: 0x01,
  X86_PV_INFO: 0x02,
  X86_PV_P2M_FRAMES: 0x03,
  X86_PV_VCPU_BASIC: 0x04,
  X86_PV_VCPU_EXTENDED: 0x05,
  X86_PV_VCPU_XSAVE: 0x06,
  SHARED_INFO: 0x07,
  X86_TSC_INFO: 0x08,
  HVM_CONTEXT: 0x09,
  HVM_PARAMS: 0x0a,
  TOOLSTACK: 0x0b,
  X86_PV_VCPU_MSRS: 0x0c,
  VERIFY: 0x0d,
  CHECKPOINT: 0x0e,
  CHECKPOINT_DIRTY_PFN_LIST: 0x0f,
  STATIC_DATA_END: 0x10,
  X86_CPUID_POLICY: 0x11,
  X86_MSR_POLICY: 0x12,
} as const;
/** Name of a record type. */
export type LibxcRecordName = keyof typeof LIBXC_RECORD;

/** Start of PAGE_DATA: entries follow, then the pages that have contents. */
export const pageDataHeader = layout("PAGE_DATA header", `${SPEC}: PAGE_DATA`, {
  count: u32("entries that follow, at least 1"),
  reserved: u32("0"),
});

/** One page of PAGE_DATA. */
export const pageDataEntry = layout("PAGE_DATA entry", `${SPEC}: PAGE_DATA`, {
  entry: u64big("bits 51-0 pfn, 59-52 zero, 63-60 type of page"),
});

/** Types of pages, as a PAGE_DATA entry holds them in its top four bits. */
export const PAGE_TYPE = {
  NOTAB: 0x0,
  L1TAB: 0x1,
  L2TAB: 0x2,
  L3TAB: 0x3,
  L4TAB: 0x4,
  L1TAB_PINNED: 0x9,
  L2TAB_PINNED: 0xa,
  L3TAB_PINNED: 0xb,
  L4TAB_PINNED: 0xc,
  BROKEN: 0xd,
  XALLOC: 0xe,
  XTAB: 0xf,
} as const;

/** By type: whether the value is defined. */
export const PAGE_TYPE_DEFINED: readonly boolean[] = Array.from({ length: 16 }, (_, t) => t < 5 || t > 8);
/** By type: whether 4096 bytes of contents belong to the entry. */
export const PAGE_TYPE_HAS_DATA: readonly boolean[] = Array.from(
  { length: 16 },
  (_, t) => t < 5 || (t > 8 && t < PAGE_TYPE.BROKEN),
);
/** By type: its name. */
export const PAGE_TYPE_NAMES: readonly string[] = Array.from(
  { length: 16 },
  (_, t) => Object.entries(PAGE_TYPE).find(([, value]) => value === t)?.[0] ?? `reserved ${t}`,
);

/** Body of X86_PV_INFO. */
export const pvInfo = layout("X86_PV_INFO", `${SPEC}: X86_PV_INFO`, {
  guestWidth: u8("bytes of a guest's word: 4 or 8"),
  ptLevels: u8("levels of page tables: 3 with width 4, 4 with width 8"),
  reserved1: u16("0"),
  reserved2: u32("0"),
});

/** Followed by one u64 pfn for each frame of the p2m. */
export const p2mFramesHeader = layout("X86_PV_P2M_FRAMES header", `${SPEC}: X86_PV_P2M_FRAMES`, {
  startPfn: u32("first pfn the frames map"),
  endPfn: u32("last pfn the frames map, inclusive"),
});

/** Opens X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE and _MSRS. */
export const vcpuHeader = layout("X86_PV_VCPU header", `${SPEC}: X86_PV_VCPU_* records`, {
  vcpuId: u32("number of the vCPU"),
  reserved: u32("0"),
});

/** Bytes of a X86_PV_VCPU_BASIC context by the guest's word. */
export const VCPU_CONTEXT_SIZE: Readonly<Record<4 | 8, number>> = { 4: 0xaf0, 8: 0x1430 };
/** Bytes of the body of SHARED_INFO. */
export const SHARED_INFO_SIZE = 4096;
/** Vcpu numbers a domain can have. */
export const MAX_VCPUS = 8192;

/** Opens the context of X86_PV_VCPU_XSAVE; the XSAVE area follows. */
export const xsaveHeader = layout("X86_PV_VCPU_XSAVE context", `${SPEC}: X86_PV_VCPU_XSAVE`, {
  xcr0: u64big("features enabled"),
  xcr0Accum: u64big("features ever enabled"),
});

/** One register of X86_PV_VCPU_MSRS. */
export const vcpuMsr = layout("X86_PV_VCPU_MSRS entry", `${SPEC}: X86_PV_VCPU_MSRS`, {
  index: u32("number of the register"),
  reserved: u32("0"),
  value: u64big("its value"),
});

/** Body of X86_TSC_INFO. */
export const tscInfo = layout("X86_TSC_INFO", `${SPEC}: X86_TSC_INFO`, {
  mode: u32("0 default, 1 always emulate, 2 never emulate, 3 native with TSC_AUX"),
  khz: u32("frequency"),
  nsec: u64big("elapsed guest time in nanoseconds: 2^53 of them are 104 days"),
  incarnation: u32("times the guest was restored"),
  reserved: u32("0"),
});
/** By mode: its name. */
export const TSC_MODES: readonly string[] = [
  "default",
  "always emulate",
  "never emulate",
  "native with TSC_AUX",
];

/** Start of HVM_PARAMS. */
export const hvmParamsHeader = layout("HVM_PARAMS header", `${SPEC}: HVM_PARAMS`, {
  count: u32("entries that follow"),
  reserved: u32("0"),
});

/** One parameter of HVM_PARAMS. */
export const hvmParam = layout("HVM_PARAMS entry", `${SPEC}: HVM_PARAMS`, {
  index: u64("number of the parameter"),
  value: u64big("its value"),
});

/** One leaf of X86_CPUID_POLICY. */
export const cpuidPolicyEntry = layout("X86_CPUID_POLICY entry", `${SPEC}: X86_CPUID_POLICY`, {
  leaf: u32("leaf"),
  subleaf: u32("subleaf; 0xffffffff: none"),
  a: u32("eax"),
  b: u32("ebx"),
  c: u32("ecx"),
  d: u32("edx"),
});

/** One register of X86_MSR_POLICY. */
export const msrPolicyEntry = layout("X86_MSR_POLICY entry", `${SPEC}: X86_MSR_POLICY`, {
  index: u32("number of the register"),
  flags: u32("0"),
  value: u64big("its value"),
});
