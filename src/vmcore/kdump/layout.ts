import {
  array,
  type ByteOrder,
  type Field,
  i32,
  layout,
  bytes,
  type RecordOf,
  text,
  u32,
  u64,
  u64big,
} from "../../binary/layout.js";

import { FormatError } from "../../findings/errors.js";

const SPEC = "diskdump header version 6 (makedumpfile diskdump_mod.h)";

const names = {
  signature: text(8, "`KDUMP   `, or `DISKDUMP` of the older program"),
  header_version: i32("6; smaller ones have shorter sub-headers"),
  sysname: text(65, "uname of the dumped kernel"),
  nodename: text(65, "its host name"),
  release: text(65, "its release"),
  version: text(65, "its build"),
  machine: text(65, "its machine, `x86_64`"),
  domainname: text(65, "its domain"),
};

const geometry = {
  status: u32("compressions used, 8: incomplete"),
  block_size: i32("bytes of a block: the page size"),
  sub_hdr_size: i32("blocks of sub-header and notes"),
  bitmap_blocks: u32("blocks of both bitmaps together"),
  max_mapnr: u32("page frames, low 32 bits"),
  total_ram_blocks: u32("0"),
  device_blocks: u32("0"),
  written_blocks: u32("0"),
  current_cpu: u32("0"),
  nr_cpus: i32("processors"),
};

/** A word of a 32-bit dump in the record type of the 64-bit structure. */
const word = (meaning: string): Field<bigint> => ({
  size: 4,
  type: "u32",
  meaning,
  read: (view, at, little) => BigInt(view.getUint32(at, little)),
  write: (view, at, value, little) => view.setUint32(at, Number(BigInt.asUintN(32, value)), little),
});

/** Main header of 64-bit machines, 464 bytes, at the start of block 0. */
export const header64 = layout("disk_dump_header, 64-bit", SPEC, {
  ...names,
  padding: bytes(6, ""),
  timestamp: array(u64big(""), 2, "seconds, microseconds"),
  ...geometry,
});

/** Main header of 32-bit machines, 452 bytes. */
export const header32: typeof header64 = layout("disk_dump_header, 32-bit", SPEC, {
  ...names,
  padding: bytes(2, ""),
  timestamp: array(word(""), 2, "seconds, microseconds"),
  ...geometry,
});

/** Sub-header of 64-bit machines, 104 bytes, at the start of block 1. */
export const subHeader64 = layout("kdump_sub_header, 64-bit", SPEC, {
  phys_base: u64big("physical address of the kernel's link base"),
  dump_level: i32("kinds of pages left out; since version 1"),
  split: i32("1: a part of a set; since version 2"),
  start_pfn: u64big("first frame of the part, one word; since version 2"),
  end_pfn: u64big("after its last"),
  offset_vmcoreinfo: u64("where VMCOREINFO's text is; since version 3"),
  size_vmcoreinfo: u64("its bytes"),
  offset_note: u64("where the ELF notes are; since version 4"),
  size_note: u64("their bytes"),
  offset_eraseinfo: u64("what was erased; since version 5"),
  size_eraseinfo: u64("its bytes"),
  start_pfn_64: u64("first frame of the part; since version 6"),
  end_pfn_64: u64("after its last"),
  max_mapnr_64: u64("page frames"),
});

/** Sub-header of 32-bit machines, packed as QEMU and i386 lay it out: 80 bytes. */
export const subHeader32: typeof subHeader64 = layout("kdump_sub_header, 32-bit", SPEC, {
  phys_base: word("physical address of the kernel's link base"),
  dump_level: i32("kinds of pages left out; since version 1"),
  split: i32("1: a part of a set; since version 2"),
  start_pfn: word("first frame of the part, one word; since version 2"),
  end_pfn: word("after its last"),
  offset_vmcoreinfo: u64("where VMCOREINFO's text is; since version 3"),
  size_vmcoreinfo: u32("its bytes"),
  offset_note: u64("where the ELF notes are; since version 4"),
  size_note: u32("their bytes"),
  offset_eraseinfo: u64("what was erased; since version 5"),
  size_eraseinfo: u32("its bytes"),
  start_pfn_64: u64("first frame of the part; since version 6"),
  end_pfn_64: u64("after its last"),
  max_mapnr_64: u64("page frames"),
});

/** Sub-header of 32-bit machines that align 64-bit numbers to 8 bytes, such as ARM, as makedumpfile there lays it out: 96 bytes. */
export const subHeader32Aligned = layout("kdump_sub_header, 32-bit, aligned to 8", SPEC, {
  phys_base: word("physical address of the kernel's link base"),
  dump_level: i32("kinds of pages left out; since version 1"),
  split: i32("1: a part of a set; since version 2"),
  start_pfn: word("first frame of the part, one word; since version 2"),
  end_pfn: word("after its last"),
  padding: bytes(4, ""),
  offset_vmcoreinfo: u64("where VMCOREINFO's text is; since version 3"),
  size_vmcoreinfo: u32("its bytes"),
  padding_note: bytes(4, ""),
  offset_note: u64("where the ELF notes are; since version 4"),
  size_note: u32("their bytes"),
  padding_eraseinfo: bytes(4, ""),
  offset_eraseinfo: u64("what was erased; since version 5"),
  size_eraseinfo: u32("its bytes"),
  padding_frames: bytes(4, ""),
  start_pfn_64: u64("first frame of the part; since version 6"),
  end_pfn_64: u64("after its last"),
  max_mapnr_64: u64("page frames"),
});

/** Version that brought each part of the sub-header; what is newer than the header's version is not there. */
const SINCE: Readonly<Partial<Record<keyof SubHeader, number>>> = {
  dump_level: 1,
  split: 2,
  start_pfn: 2,
  end_pfn: 2,
  offset_vmcoreinfo: 3,
  size_vmcoreinfo: 3,
  offset_note: 4,
  size_note: 4,
  offset_eraseinfo: 5,
  size_eraseinfo: 5,
  start_pfn_64: 6,
  end_pfn_64: 6,
  max_mapnr_64: 6,
};

/** One page's descriptor. */
export const pageDescriptor = layout("page_desc", SPEC, {
  offset: u64("where the page's data are"),
  size: u32("bytes stored"),
  flags: u32("0 as is, 1 zlib, 2 lzo, 4 snappy, 0x20 zstd"),
  page_flags: u64big("0"),
});

/** Head of a flattened dump, padded to 4096 bytes. */
export const flattenedHeader = layout("makedumpfile_header", SPEC, {
  signature: text(16, "`makedumpfile`"),
  type: u64("1"),
  version: u64("1"),
});

/** In front of each run of bytes of a flattened dump, big endian; both -1: the end. */
export const flattenedRecord = layout("makedumpfile_data_header", SPEC, {
  offset: u64big("where the bytes go in the plain file"),
  size: u64big("how many there are"),
});

export const KDUMP_SIGNATURE = "KDUMP   ";
export const DISKDUMP_SIGNATURE = "DISKDUMP";
export const FLATTENED_SIGNATURE = "makedumpfile";
export const FLATTENED_HEADER_SIZE = 4096;
export const FLATTENED_END = 2n ** 64n - 1n;
export const HEADER_VERSION = 6;

export const STATUS_INCOMPLETE = 8;
/** Compressions by their bit in the header's status and in a descriptor's flags. */
export const COMPRESSION_FLAGS = { zlib: 1, lzo: 2, snappy: 4, zstd: 0x20 } as const;

export type Header = RecordOf<typeof header64>;
export type SubHeader = RecordOf<typeof subHeader64>;

/** Any of the forms: what they have in common is enough to read one. */
type SubHeaderLayout = Pick<typeof subHeader64, "decode" | "fields">;

/** Width and byte order: what the file itself doesn't state. */
export interface KdumpForm {
  readonly bits: 32 | 64;
  readonly order: ByteOrder;
}

export const headerLayout = (bits: 32 | 64): typeof header64 => (bits === 64 ? header64 : header32);
export const subHeaderLayout = (bits: 32 | 64): typeof subHeader64 =>
  bits === 64 ? subHeader64 : subHeader32;

/** Bytes that a sub-header of either form takes. */
export const subHeaderSize = (bits: 32 | 64): number =>
  bits === 64 ? subHeader64.size : subHeader32Aligned.size;

/**
 * Decodes a sub-header; members that the header's version doesn't have yet are zero. Which of the two 32-bit forms it
 * has is known by the number of frames, which the main header holds as well, else by where the notes would be.
 * @param bytes `subHeaderSize` bytes of block 1
 */
export function readSubHeader(bytes: Uint8Array, form: KdumpForm, header: Header): SubHeader {
  const packed = (): SubHeader => decodeKnown(subHeaderLayout(form.bits), bytes, form, header);
  if (form.bits === 64) return packed();
  if (header.header_version < 3) return packed();
  const { max_mapnr, block_size, header_version } = header;
  const fits = (found: SubHeader): boolean => {
    if (header_version >= 6) return found.max_mapnr_64 % 2 ** 32 === max_mapnr;
    // notes and VMCOREINFO are after the sub-header, in its blocks
    const end = (1 + header.sub_hdr_size) * block_size;
    const within = (at: number, size: number): boolean =>
      size === 0 ? at === 0 : at > block_size && at + size <= end;
    return (
      within(found.offset_vmcoreinfo, found.size_vmcoreinfo) && within(found.offset_note, found.size_note)
    );
  };
  for (const candidate of [subHeader32, subHeader32Aligned]) {
    const decoded = decodePossible(candidate, bytes, form, header);
    if (decoded !== undefined && fits(decoded)) return decoded;
  }
  return packed();
}

/** A form whose 64-bit numbers can't be any is not the right one. */
function decodePossible(
  candidate: SubHeaderLayout,
  bytes: Uint8Array,
  form: KdumpForm,
  header: Header,
): SubHeader | undefined {
  try {
    return decodeKnown(candidate, bytes, form, header);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

function decodeKnown(
  whole: SubHeaderLayout,
  bytes: Uint8Array,
  form: KdumpForm,
  { header_version }: Header,
): SubHeader {
  const known = bytes.slice();
  for (const { name, offset } of whole.fields) {
    const since = SINCE[name as keyof SubHeader] ?? 0;
    if (since <= header_version) continue;
    known.fill(0, offset);
    break;
  }
  return whole.decode(known, form.order);
}
