import { bytes, layout, text, u32, u64big, u8 } from "../../../binary/layout.js";

/** What a PC's firmware and its loader leave in memory of the machine's addresses. All of it is little endian. */

export const rsdp = layout("ACPI RSDP", "ACPI 6.4, 5.2.5.3", {
  signature: text(8, "RSD PTR "),
  checksum: u8("all 20 bytes add up to 0"),
  oem: bytes(6, ""),
  revision: u8("2 or more: the XSDT's address follows"),
  rsdt: u32("guest-physical address of the RSDT"),
});

/** Of boot_params: what the kernel keeps of what its loader said. */
export const bootParams = layout("boot_params, a part", "Linux, Documentation/arch/x86/zero-page.rst", {
  before: bytes(0x1e8, ""),
  e820_entries: u8("entries of the table of memory"),
  between: bytes(0x19, ""),
  header: text(4, "HdrS"),
});
export const e820Entry = layout("e820 entry", "Linux, arch/x86/include/uapi/asm/setup_data.h", {
  addr: u64big("guest-physical address"),
  size: u64big("bytes"),
  type: u32("1: RAM"),
});
