// over 350 lines: one table, a paragraph for each rule
import { rules } from "../../findings/rule.js";

const SPEC = "libxc migration stream";
const IMAGE = `${SPEC}: image header`;
const DOMAIN = `${SPEC}: domain header`;
const RECORDS = `${SPEC}: records`;
const ORDER = `${SPEC}: layout`;
const PAGES = `${SPEC}: PAGE_DATA`;
const VCPU = `${SPEC}: X86_PV_VCPU_* records`;

/** What can be wrong in the libxc layer. */
export const LIBXC_RULES = rules({
  marker: {
    code: "libxc/image-header/marker",
    severity: "error",
    spec: IMAGE,
    explanation:
      "The stream must start with eight 0xff bytes (Xen 4.6 and later): no older stream starts so.",
  },
  ident: {
    code: "libxc/image-header/id",
    severity: "error",
    spec: IMAGE,
    explanation: "The image ID must be 'XENF' (0x58454E46).",
  },
  version: {
    code: "libxc/image-header/version",
    severity: "error",
    spec: IMAGE,
    explanation: "Versions 2 (Xen 4.6 to 4.13) and 3 (Xen 4.14 on) exist.",
  },
  imageReservedOptions: {
    code: "libxc/image-header/reserved-options",
    severity: "error",
    spec: IMAGE,
    explanation: "Bits 1 to 15 of the options are reserved and zero when saved.",
  },
  imageReserved: {
    code: "libxc/image-header/reserved",
    severity: "error",
    spec: IMAGE,
    explanation: "The reserved fields of the image header are zero when saved.",
  },
  orderContradicted: {
    code: "libxc/image-header/byte-order-contradicted",
    severity: "error",
    spec: IMAGE,
    explanation:
      "The domain header makes sense only in the byte order that the options don't announce: the bit is damaged. Verification goes on in the order that fits.",
  },
  orderDiffers: {
    code: "libxc/image-header/byte-order-differs",
    severity: "warning",
    spec: IMAGE,
    explanation:
      "The libxl layer announces one byte order and the libxc stream in it another; no writer does that.",
  },
  domainType: {
    code: "libxc/domain-header/type",
    severity: "error",
    spec: DOMAIN,
    explanation:
      "Domains are 1 (x86 PV) or 2 (x86 HVM, PVH too). The draft of 2014 had 3 and 4, which no release wrote.",
  },
  pageShift: {
    code: "libxc/domain-header/page-shift",
    severity: "error",
    spec: DOMAIN,
    explanation: "Pages have 4096 bytes: the shift is 12.",
  },
  domainReserved: {
    code: "libxc/domain-header/reserved",
    severity: "error",
    spec: DOMAIN,
    explanation: "The reserved field of the domain header is zero when saved.",
  },
  tooLong: {
    code: "libxc/record/too-long",
    severity: "error",
    spec: RECORDS,
    explanation:
      "Xen's own reader refuses bodies of more than 128 MiB. The length is damaged, and with it the place of everything after it.",
  },
  padding: {
    code: "libxc/record/padding",
    severity: "error",
    spec: RECORDS,
    explanation: "The bytes between a body and the next multiple of 8 are zero when saved.",
  },
  unknownMandatory: {
    code: "libxc/record/unknown-mandatory",
    severity: "error",
    spec: RECORDS,
    explanation:
      "A record of a type below 0x80000000 must be understood; a reader that doesn't know it must refuse the stream.",
  },
  unknownOptional: {
    code: "libxc/record/unknown-optional",
    severity: "note",
    spec: RECORDS,
    explanation: "Types from 0x80000000 on may be passed over by readers that don't know them.",
  },
  notEmpty: {
    code: "libxc/record/not-empty",
    severity: "error",
    spec: RECORDS,
    explanation: "A record of this type has no body.",
  },
  length: {
    code: "libxc/record/length",
    severity: "error",
    spec: RECORDS,
    explanation: "The length of the body must be the one that its type, or the count in it, requires.",
  },
  reserved: {
    code: "libxc/record/reserved",
    severity: "error",
    spec: RECORDS,
    explanation: "Reserved fields are zero when saved; a restoring reader ignores them.",
  },
  empty: {
    code: "libxc/record/empty-content",
    severity: "warning",
    spec: RECORDS,
    explanation: "The record says nothing. Xen 4.6 to 4.8 wrote such records, and readers tolerate them.",
  },
  toolstack: {
    code: "libxc/record/toolstack",
    severity: "error",
    spec: `${SPEC}: TOOLSTACK`,
    explanation:
      "TOOLSTACK was in the draft of 2014 only: no released Xen writes or reads it in a version 2 or 3 stream.",
  },
  dirtyList: {
    code: "libxc/record/dirty-pfn-list",
    severity: "error",
    spec: `${SPEC}: CHECKPOINT_DIRTY_PFN_LIST`,
    explanation: "This record goes back from the receiver to the sender; it has no place in a saved stream.",
  },
  versionThree: {
    code: "libxc/version/record-of-version-3",
    severity: "error",
    spec: ORDER,
    explanation: "STATIC_DATA_END and the policies exist from version 3 on; this stream is of version 2.",
  },
  foreignPv: {
    code: "libxc/guest/pv-record-in-hvm",
    severity: "error",
    spec: ORDER,
    explanation: "The record describes a PV guest, but the domain header says HVM.",
  },
  foreignHvm: {
    code: "libxc/guest/hvm-record-in-pv",
    severity: "error",
    spec: ORDER,
    explanation: "The record describes an HVM guest, but the domain header says PV.",
  },
  missing: {
    code: "libxc/stream/missing-record",
    severity: "error",
    spec: ORDER,
    explanation:
      "A record that every stream of this guest type holds is not there; the guest can't be restored.",
  },
  repeated: {
    code: "libxc/stream/repeated-record",
    severity: "error",
    spec: ORDER,
    explanation:
      "A record of this type occurs once in a stream (once between two checkpoints, where state is sent again).",
  },
  order: {
    code: "libxc/stream/order",
    severity: "error",
    spec: ORDER,
    explanation:
      "A record must come after those that it depends on: a reader would not know what to do with it.",
  },
  paramsOrder: {
    code: "libxc/stream/params-after-context",
    severity: "note",
    spec: ORDER,
    explanation:
      "By the specification HVM_PARAMS come before HVM_CONTEXT. Real Xen writes them after it, and readers accept both.",
  },
  memoryAfterState: {
    code: "libxc/stream/memory-after-state",
    severity: "warning",
    spec: ORDER,
    explanation:
      "Memory is sent before the vCPU state; here pages follow it, without VERIFY or CHECKPOINT between.",
  },
  noMemory: {
    code: "libxc/stream/no-memory",
    severity: "warning",
    spec: ORDER,
    explanation: "The stream holds no page of memory.",
  },
  pageShort: {
    code: "libxc/page-data/short",
    severity: "error",
    spec: PAGES,
    explanation: "PAGE_DATA starts with a count and a reserved field and has room for at least one entry.",
  },
  pageCount: {
    code: "libxc/page-data/zero-count",
    severity: "error",
    spec: PAGES,
    explanation: "A PAGE_DATA record announces at least one page.",
  },
  pageEntries: {
    code: "libxc/page-data/count-beyond-body",
    severity: "error",
    spec: PAGES,
    explanation: "The body is too short for as many entries as the count announces.",
  },
  pageReserved: {
    code: "libxc/page-data/reserved",
    severity: "error",
    spec: PAGES,
    explanation: "The field after the count is zero when saved.",
  },
  pageEntryReserved: {
    code: "libxc/page-data/reserved-bits",
    severity: "error",
    spec: PAGES,
    explanation: "Bits 52 to 59 of an entry, between the pfn and the type, are zero.",
  },
  pageType: {
    code: "libxc/page-data/reserved-type",
    severity: "error",
    spec: PAGES,
    explanation:
      "Types 5 to 8 are not defined: it can't be known whether a page of data belongs to the entry.",
  },
  pageDuplicate: {
    code: "libxc/page-data/duplicate-pfn",
    severity: "error",
    spec: PAGES,
    explanation:
      "Within one record a pfn occurs once: the reader allocates and maps all of a record's pages together.",
  },
  pageLength: {
    code: "libxc/page-data/length",
    severity: "error",
    spec: PAGES,
    explanation: "After the entries come 4096 bytes for each one whose type has data, and nothing else.",
  },
  pvTypeInHvm: {
    code: "libxc/page-data/page-table-in-hvm",
    severity: "error",
    spec: PAGES,
    explanation: "Only PV guests have pages of a page-table type.",
  },
  pageBeyondP2m: {
    code: "libxc/page-data/beyond-p2m",
    severity: "error",
    spec: PAGES,
    explanation: "A PV guest has no pages beyond the last pfn that X86_PV_P2M_FRAMES names.",
  },
  pvWidth: {
    code: "libxc/pv-info/width",
    severity: "error",
    spec: `${SPEC}: X86_PV_INFO`,
    explanation: "A guest's word has 4 or 8 bytes.",
  },
  pvLevels: {
    code: "libxc/pv-info/levels",
    severity: "error",
    spec: `${SPEC}: X86_PV_INFO`,
    explanation: "A 32-bit guest has 3 levels of page tables, a 64-bit guest 4.",
  },
  p2mRange: {
    code: "libxc/p2m-frames/range",
    severity: "error",
    spec: `${SPEC}: X86_PV_P2M_FRAMES`,
    explanation: "The last pfn is below the first one.",
  },
  p2mCount: {
    code: "libxc/p2m-frames/count",
    severity: "error",
    spec: `${SPEC}: X86_PV_P2M_FRAMES`,
    explanation:
      "With fpp = 4096 / guest width, there is one frame for each step of fpp from the first pfn to the last: end/fpp - start/fpp + 1.",
  },
  p2mFrame: {
    code: "libxc/p2m-frames/frame-beyond-end",
    severity: "error",
    spec: `${SPEC}: X86_PV_P2M_FRAMES`,
    explanation: "A frame of the p2m is a page of the guest: its pfn is not beyond the last one.",
  },
  vcpuId: {
    code: "libxc/vcpu/id",
    severity: "error",
    spec: VCPU,
    explanation: "No domain has that many vCPUs: at most 8192.",
  },
  vcpuRepeated: {
    code: "libxc/vcpu/repeated",
    severity: "error",
    spec: VCPU,
    explanation: "Each type of vCPU record occurs once for each vCPU.",
  },
  vcpuNoBasic: {
    code: "libxc/vcpu/no-basic",
    severity: "error",
    spec: VCPU,
    explanation: "The vCPU has further state but no X86_PV_VCPU_BASIC record.",
  },
  vcpuSize: {
    code: "libxc/vcpu/context-size",
    severity: "error",
    spec: VCPU,
    explanation: "The basic context has 0x1430 bytes for a 64-bit guest and 0xaf0 for a 32-bit one.",
  },
  vcpuExtendedSize: {
    code: "libxc/vcpu/extended-size",
    severity: "warning",
    spec: VCPU,
    explanation: "The extended context has 64 bytes from Xen itself and 128 in converted streams.",
  },
  xsave: {
    code: "libxc/vcpu/xsave-implausible",
    severity: "error",
    spec: VCPU,
    explanation:
      "The context starts with xcr0 and xcr0_accum; xcr0 always has bit 0, and no bit that xcr0_accum lacks; an area of at least 576 bytes follows.",
  },
  msrs: {
    code: "libxc/vcpu/msrs-length",
    severity: "error",
    spec: VCPU,
    explanation: "The list holds whole entries of 16 bytes.",
  },
  tscMode: {
    code: "libxc/tsc-info/mode",
    severity: "error",
    spec: `${SPEC}: X86_TSC_INFO`,
    explanation: "Modes are 0 (default), 1 (always emulate), 2 (never emulate) and 3 (native with TSC_AUX).",
  },
  paramDuplicate: {
    code: "libxc/hvm-params/duplicate",
    severity: "error",
    spec: `${SPEC}: HVM_PARAMS`,
    explanation: "A parameter occurs once in a record.",
  },
  paramUnknown: {
    code: "libxc/hvm-params/unknown",
    severity: "note",
    spec: `${SPEC}: HVM_PARAMS`,
    explanation:
      "No release known here has a parameter of that index; a hypervisor that doesn't know it refuses it.",
  },
});
