import { bytes, layout, text, u32, u64, u8 } from "../../../binary/layout.js";

const SPEC = "QEMU migration, multifd channels";

/** Magic number of a channel's first bytes and of every packet. */
export const MULTIFD_MAGIC = 0x1122_3344;
export const MULTIFD_VERSION = 1;
/** Bytes of pages that a packet may hold. */
export const PACKET_PAGES = 512 << 10;

/** What a channel begins with; big endian, as all of it. */
export const channelHeader = layout("multifd channel header", `${SPEC}: initial packet`, {
  magic: u32("0x11223344"),
  version: u32("1"),
  uuid: bytes(16, "of the guest"),
  id: u8("number of the channel"),
  unused: bytes(39, "zeros"),
});

/** Head of a packet; the offsets of its pages follow, then their contents. */
export const packetHeader = layout("multifd packet", `${SPEC}: packets`, {
  magic: u32("0x11223344"),
  version: u32("1"),
  flags: u32("bit 0: all channels have come this far; bits 1 to 5: compression"),
  pagesRoom: u32("places for offsets: 512 KiB / page size"),
  normalPages: u32("pages with contents"),
  dataSize: u32("bytes of contents, if there are such pages"),
  number: u64("of the packet, over all channels"),
  zeroPages: u32("pages of zeros, whose offsets follow those of pages with contents"),
  unused: bytes(28, "zeros"),
  block: text(256, "name of the RAM block"),
});

/** Flags of a packet. */
export const PACKET_FLAG = { sync: 1, zlib: 2, zstd: 4, others: 0xffff_fff8 } as const;

/** `QCPR`: what the channel begins with that hands memory over as file descriptors (cpr-transfer). */
export const CPR_MAGIC = 0x5143_5052;

/** What a cpr channel begins with; entries follow: byte 1, length and text of the name, number, byte 0x20. */
export const cprHeader = layout("cpr channel header", "QEMU migration, cpr-transfer", {
  magic: u32('0x51435052, "QCPR"'),
  version: u32("1"),
});
