import { array, layout, bytes, text, u16, u32, u64big, u8 } from "../../../binary/layout.js";

/** Structures of the machine itself that a stream holds inside its blocks and devices. */

/** ACPI and PCI are little endian on every host. */
export const MACHINE_ORDER = "little";

export const pciHeader = layout("PCI configuration header, type 0", "PCI Local Bus 3.0, 6.1", {
  vendor: u16(""),
  device: u16(""),
  command: u16("bit 1: BARs and ROM of memory are decoded"),
  status: u16(""),
  class: array(u8(""), 4, "revision, programming interface, subclass, class"),
  misc: array(u8(""), 4, "cache line, latency, header type, self test"),
  bars: array(u32("bit 0: I/O; bits 1 and 2 are 2: of 64 bits, the next BAR is its upper half"), 6, "BARs"),
  cis: u32(""),
  subsystem: u32(""),
  rom: u32("bit 0: shown; address in bits 11 to 31"),
  rest: array(u8(""), 12, "capabilities, interrupt"),
});

export const acpiHeader = layout("ACPI table header", "ACPI 6.4, 5.2.6", {
  signature: text(4, "SRAT, NFIT …"),
  length: u32("bytes of the whole table"),
  rest: bytes(28, "revision, checksum, ids"),
});

/** After the header, a reserved u32 and u64. */
export const sratMemoryEntry = layout("SRAT memory affinity", "ACPI 6.4, 5.2.16.2", {
  type: u8("1"),
  length: u8("40"),
  node: u32("proximity domain"),
  reserved: u16(""),
  base: u64big("guest-physical address"),
  size: u64big("bytes"),
  reserved2: u32(""),
  flags: u32("1: enabled, 2: room for hot plugging, 4: non-volatile"),
  reserved3: u64big(""),
});

/** After the header and a reserved u32. */
export const nfitRange = layout("NFIT system physical address range", "ACPI 6.4, 5.2.25.2", {
  type: u16("0"),
  length: u16("56 or more"),
  index: u16(""),
  flags: u16(""),
  reserved: u32(""),
  node: u32("proximity domain"),
  kind: bytes(16, "GUID"),
  base: u64big("guest-physical address"),
  size: u64big("bytes"),
  attributes: u64big(""),
});

/** Big endian, as all of a device's state. */
export const virtioMemState = layout(
  "virtio-mem state, in front of its bitmap",
  "QEMU migration stream: virtio-mem",
  {
    address: u64big("guest-physical address of the region"),
    region: u64big("bytes of the region, and of its RAM block"),
    unit: u64big("bytes plugged at once"),
    node: u32("NUMA node"),
    usable: u64big("bytes that may be plugged"),
    plugged: u64big("bytes that are plugged"),
    requested: u64big("bytes the host asks the guest to plug"),
  },
);
