import { viewOf } from "../../../binary/layout.js";
import type { DeviceDescription, FieldDescription, StructDescription } from "../devices/description.js";
import type { SectionInfo } from "../devices/section.js";
import { EARLY } from "./memory-devices.js";

/**
 * The few devices whose state has had one form in all versions that matter, for streams without a description: what
 * registers and the memory map are taken from. What follows the known fields stays bytes.
 */

const field = (name: string, type: string, size: number): FieldDescription => ({ name, type, size });
const list = (name: string, type: string, size: number, count: number): FieldDescription => ({
  name,
  type,
  size,
  count,
});
const u64 = (name: string): FieldDescription => field(name, "uint64", 8);

const SEGMENT_SIZE = 20;
const SEGMENT: StructDescription = {
  name: "segment",
  version: 1,
  fields: [
    field("selector", "uint32", 4),
    u64("base"),
    field("limit", "uint32", 4),
    field("flags", "uint32", 4),
  ],
  subsections: [],
  size: SEGMENT_SIZE,
  hasEmptyPlaces: false,
};
const segment = (name: string): FieldDescription => ({
  name,
  type: "struct",
  size: SEGMENT_SIZE,
  struct: SEGMENT,
});

const X86_VERSION = 12;
/** State of a 64-bit x86 vCPU up to its FPU's control; that of 32-bit targets has other sizes. */
const X86_64: readonly FieldDescription[] = [
  list("env.regs", "uint64", 8, 16),
  u64("env.eip"),
  u64("env.eflags"),
  field("env.hflags", "uint32", 4),
  field("fpu", "buffer", 88),
  { ...segment("env.segs"), count: 6 },
  ...["env.ldt", "env.tr", "env.gdt", "env.idt"].map(segment),
  field("env.sysenter_cs", "uint32", 4),
  ...["env.sysenter_esp", "env.sysenter_eip", "env.cr[0]", "env.cr[2]", "env.cr[3]", "env.cr[4]"].map(u64),
  list("env.dr", "uint64", 8, 8),
  field("env.a20_mask", "int32", 4),
  field("env.mxcsr", "uint32", 4),
  field("xmm", "buffer", 256),
  ...["efer", "star", "lstar", "cstar", "fmask", "kernelgsbase"].map((name) => u64(`env.${name}`)),
];
const SEGMENTS = { at: 236, count: 10 };
const A20_MASK = 552;
const A20_VALUES: readonly number[] = [0xffff_ffff, 0xffef_ffff];

/** Whether bytes can be a 64-bit x86 vCPU: ten selectors of 16 bits, an address mask of one of two values. */
function isX86(data: Uint8Array): boolean {
  const view = viewOf(data);
  if (data.length < bytesOf(X86_64) || !A20_VALUES.includes(view.getUint32(A20_MASK))) return false;
  for (let i = 0; i < SEGMENTS.count; i += 1)
    if (view.getUint32(SEGMENTS.at + i * SEGMENT_SIZE) > 0xffff) return false;
  return true;
}

const CMOS = [field("cmos_data", "buffer", 128)];
const GLOBAL_STATE = [field("size", "uint32", 4), field("runstate", "buffer", 100)];
const VMCOREINFO = [
  field("has_vmcoreinfo", "bool", 1),
  field("vmcoreinfo.host_format", "uint16", 2),
  field("vmcoreinfo.guest_format", "uint16", 2),
  field("vmcoreinfo.size", "uint32", 4),
  u64("vmcoreinfo.paddr"),
];
const PCI = [field("version_id", "int32", 4), field("config", "pci config", 256)];
const EARLY_VIRTIO_MEM = [
  ...["addr", "region_size", "block_size"].map(u64),
  field("node", "uint32", 4),
  u64("size"),
];
const PCI_VERSION = 2;
const SLOT = /^[0-9a-f]{4}:[0-9a-f:.]+\//;
/** Devices that keep more than their configuration, in virtio's own form. */
const VIRTIO = /\/virtio-[a-z-]+$/;

function fieldsOf({ name, version }: SectionInfo, data: Uint8Array): readonly FieldDescription[] | undefined {
  if (name === "cpu") return version === X86_VERSION && isX86(data) ? X86_64 : undefined;
  if (name === "mc146818rtc") return CMOS;
  if (name === "globalstate") return GLOBAL_STATE;
  if (name === "vmcoreinfo") return VMCOREINFO;
  if (name.endsWith(`/${EARLY}`)) {
    const words = data.length - bytesOf(EARLY_VIRTIO_MEM);
    return words < 0 ? undefined : [...EARLY_VIRTIO_MEM, field("bitmap", "bitmap", words)];
  }
  if (!SLOT.test(name) || data.length < 4 || viewOf(data).getUint32(0) !== PCI_VERSION) return undefined;
  return VIRTIO.test(name) ? [field("virtio", "virtio", data.length)] : PCI;
}

const bytesOf = (fields: readonly FieldDescription[]): number =>
  fields.reduce((sum, { size, count }) => sum + size * (count ?? 1), 0);

/** How a section of well-known form is to be read; undefined for all others. */
export function knownLayout(section: SectionInfo, data: Uint8Array): DeviceDescription | undefined {
  const known = fieldsOf(section, data);
  const rest = known === undefined ? -1 : data.length - bytesOf(known);
  if (known === undefined || rest < 0) return undefined;
  return {
    section: section.name,
    instance: section.instance,
    name: section.name.slice(section.name.lastIndexOf("/") + 1),
    version: section.version,
    tellsVersion: true,
    fields: rest === 0 ? known : [...known, field("rest", "buffer", rest)],
    subsections: [],
    size: data.length,
    hasEmptyPlaces: false,
  };
}
