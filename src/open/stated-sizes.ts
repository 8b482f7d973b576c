import type { DescribedLayout } from "../binary/layout.js";

/** Sizes that the specifications state: a declaration that comes to another one is wrong. */
export const STATED_SIZES: Readonly<Record<string, number>> = {
  "xl header": 48,
  "xl optional data": 4,
  "libxl header": 16,
  "libxl record header": 8,
  "libxl emulator header": 8,
  "libxl checkpoint state": 8,
  "libxc image header": 24,
  "libxc domain header": 16,
  "libxc record header": 8,
  "PAGE_DATA header": 8,
  "PAGE_DATA entry": 8,
  X86_PV_INFO: 8,
  "X86_PV_P2M_FRAMES header": 8,
  "X86_PV_VCPU header": 8,
  "X86_PV_VCPU_XSAVE context": 16,
  "X86_PV_VCPU_MSRS entry": 16,
  X86_TSC_INFO: 24,
  "HVM_PARAMS header": 8,
  "HVM_PARAMS entry": 16,
  "X86_CPUID_POLICY entry": 24,
  "X86_MSR_POLICY entry": 16,
  "HVM save descriptor": 8,
  "HVM save HEADER": 24,
  "HVM save CPU": 1032,
  "PV context of a 64-bit guest": 0x1430,
  "PV context of a 32-bit guest": 0xaf0,
  "PCI configuration header, type 0": 64,
  "ACPI table header": 36,
  "SRAT memory affinity": 40,
  "NFIT system physical address range": 56,
  "prstatus of x86_64": 336,
  "prstatus of i386": 144,
  "prstatus of aarch64": 392,
  "prstatus of arm": 148,
  "prstatus of ppc64": 504,
  "prstatus of s390x": 336,
  "kdump_sub_header, 64-bit": 104,
  "kdump_sub_header, 32-bit": 80,
  "kdump_sub_header, 32-bit, aligned to 8": 96,
  "qcow2 header": 72,
  "qcow2 header, version 3": 32,
  "qcow2 snapshot table entry": 40,
  "qcow2 snapshot extra data": 24,
  e_ident: 16,
  Elf64_Ehdr: 64,
  Elf32_Ehdr: 52,
  Elf64_Phdr: 56,
  Elf32_Phdr: 32,
  Elf64_Shdr: 64,
  Elf32_Shdr: 40,
};

/** What is wrong with a declaration: a size other than stated, or fields that don't add up to it. */
export function layoutMismatch(layout: DescribedLayout): string | undefined {
  const stated = STATED_SIZES[layout.name];
  const added = layout.fields.reduce((sum, field) => sum + field.size, 0);
  if (added !== layout.size) return `fields take ${added} bytes, declared are ${layout.size}`;
  if (stated !== undefined && stated !== layout.size) return `${layout.size} bytes, expected are ${stated}`;
  return undefined;
}
