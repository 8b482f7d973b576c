import { inOrder, layout, octets, u16, u32, u64, u64big, u8 } from "../../binary/layout.js";

const SPEC = "LibXenCtrl Domain Image Format";

/** The legacy format can't start with eight of these. */
export const IMAGE_MARKER = 0xffff_ffff_ffff_ffffn;
/** `XENF`. */
export const IMAGE_ID = 0x58454e46;
export const IMAGE_OPTION_BIG_ENDIAN = 1;

export const IMAGE_HEADER = layout("image header", `${SPEC}: image header`, {
  marker: inOrder("big", u64big("all ones")),
  id: inOrder("big", u32("0x58454E46, `XENF`")),
  version: inOrder("big", u32("2 or 3")),
  options: inOrder("big", u16("bit 0: everything after this header is big endian")),
  reserved1: inOrder("big", u16("0")),
  reserved2: inOrder("big", u32("0")),
});

export const DOMAIN_HEADER = layout("domain header", `${SPEC}: domain header`, {
  type: u32("1 x86 PV, 2 x86 HVM"),
  pageShift: u16("12"),
  reserved: u16("0"),
  xenMajor: u32("version of the saving Xen; 0: made by a converter"),
  xenMinor: u32("version of the saving Xen, or of the converter"),
});

export const DOMAIN_PV = 1;
export const DOMAIN_HVM = 2;
export const DOMAIN_TYPE_NAMES: Readonly<Record<number, string>> = { 1: "x86 PV", 2: "x86 HVM" };

export const RECORD_HEADER = layout("record header", `${SPEC}: record`, {
  type: u32("record type; 0x80000000 and above are optional"),
  length: u32("octets of the body, without the zero padding to 8 behind it"),
});

/** Xen's own reader refuses longer bodies. */
export const MAX_RECORD_LENGTH: number = 128 << 20;
/** Types from here on may be ignored by who doesn't know them. */
export const OPTIONAL_RECORD = 0x8000_0000;

export const RECORD = {
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

export const PAGE_DATA_HEADER = layout("PAGE_DATA", `${SPEC}: PAGE_DATA`, {
  count: u32("pfn entries that follow, at least 1"),
  reserved: u32("0"),
});

/** One pfn entry: bits 51–0 pfn, 59–52 zero, 63–60 page type. */
export const PAGE_DATA_ENTRY = layout("PAGE_DATA entry", `${SPEC}: PAGE_DATA`, {
  entry: u64big("bits 51-0 pfn, 59-52 zero, 63-60 type"),
});

/** Page types, the upper four bits of an entry. 1–4 and 9–12 (pinned) are page tables of level 1–4. */
export const PAGE_TYPE = {
  NOTAB: 0,
  L1TAB: 1,
  L4TAB: 4,
  PINNED: 8,
  BROKEN: 13,
  XALLOC: 14,
  XTAB: 15,
} as const;

const PAGE_TYPE_NAMES = [
  ...["NOTAB", "L1TAB", "L2TAB", "L3TAB", "L4TAB"],
  ...["reserved 5", "reserved 6", "reserved 7", "reserved 8"],
  ...["L1TAB pinned", "L2TAB pinned", "L3TAB pinned", "L4TAB pinned", "BROKEN", "XALLOC", "XTAB"],
] as const;

export function pageTypeName(type: number): string {
  return PAGE_TYPE_NAMES[type] ?? `type ${type}`;
}

/** Whether pages of a type have 4096 octets in the record. */
export function pageTypeHasData(type: number): boolean {
  return type <= 4 || (type >= 9 && type <= 12);
}

export function pageTypeReserved(type: number): boolean {
  return type >= 5 && type <= 8;
}

export const X86_PV_INFO = layout("X86_PV_INFO", `${SPEC}: X86_PV_INFO`, {
  guestWidth: u8("octets of a guest word: 4 or 8"),
  ptLevels: u8("levels of its page tables: 3 with width 4, 4 with width 8"),
  reserved1: u16("0"),
  reserved2: u32("0"),
});

export const X86_PV_P2M_FRAMES = layout("X86_PV_P2M_FRAMES", `${SPEC}: X86_PV_P2M_FRAMES`, {
  startPfn: u32("first pfn of the p2m"),
  endPfn: u32("last pfn of the p2m"),
});

/** Head of X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE and _MSRS. */
export const X86_PV_VCPU_HEADER = layout(
  "X86_PV_VCPU_*",
  `${SPEC}: X86_PV_VCPU_BASIC, EXTENDED, XSAVE, MSRS`,
  {
    vcpuId: u32("number of the vCPU"),
    reserved: u32("0"),
  },
);

export const X86_PV_VCPU_MSR = layout("X86_PV_VCPU_MSRS entry", `${SPEC}: X86_PV_VCPU_MSRS`, {
  index: u32("MSR number"),
  reserved: u32("0"),
  value: u64big("contents"),
});

export const XSAVE_HEADER = layout("X86_PV_VCPU_XSAVE contents", `${SPEC}: X86_PV_VCPU_XSAVE`, {
  xcr0: u64big("enabled state components"),
  xcr0Accum: u64big("components enabled at any time"),
});

export const X86_TSC_INFO = layout("X86_TSC_INFO", `${SPEC}: X86_TSC_INFO`, {
  mode: u32("0 default, 1 always emulate, 2 never emulate, 3 PVRDTSCP"),
  khz: u32("frequency"),
  nsec: u64big("elapsed time in ns"),
  incarnation: u32("incarnation"),
  reserved: u32("0"),
});

export const TSC_MODE_NAMES: readonly string[] = ["default", "always emulate", "never emulate", "pvrdtscp"];

export const HVM_PARAMS_HEADER = layout("HVM_PARAMS", `${SPEC}: HVM_PARAMS`, {
  count: u32("parameters that follow"),
  reserved: u32("0"),
});

export const HVM_PARAM = layout("HVM_PARAMS entry", `${SPEC}: HVM_PARAMS`, {
  index: u64("number of the parameter"),
  value: u64big("value"),
});

export const X86_CPUID_LEAF = layout("X86_CPUID_POLICY entry", `${SPEC}: X86_CPUID_POLICY`, {
  leaf: u32("leaf"),
  subleaf: u32("subleaf; 0xffffffff: none"),
  eax: u32("eax"),
  ebx: u32("ebx"),
  ecx: u32("ecx"),
  edx: u32("edx"),
});

export const X86_MSR_ENTRY = layout("X86_MSR_POLICY entry", `${SPEC}: X86_MSR_POLICY`, {
  index: u32("MSR number"),
  flags: u32("0"),
  value: u64big("contents"),
});

export const SHARED_INFO = layout("SHARED_INFO", `${SPEC}: SHARED_INFO`, {
  page: octets(4096, "the shared info page"),
});

/** Octets of X86_PV_VCPU_BASIC's context by guest width. */
export const PV_CONTEXT_SIZE: Readonly<Record<number, number>> = { 4: 0xaf0, 8: 0x1430 };

/** Names by number as Xen's public headers give them. */
const RECORD_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(RECORD).map(([name, type]) => [type, name] as const),
);

export function recordName(type: number): string {
  return RECORD_NAMES.get(type) ?? `0x${type.toString(16).padStart(8, "0")}`;
}
