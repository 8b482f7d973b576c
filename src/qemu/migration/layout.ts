import { layout, u16, u32, u64, u8 } from "../../binary/layout.js";

/** Numbers of a QEVM file are big endian on every host. */
export const ORDER = "big";

const SPEC = "QEMU migration stream, version 3";

export const QEVM_MAGIC = 0x5145_564d;
export const QEVM_VERSION = 3;

export const fileHeader = layout("QEVM header", `${SPEC}: header`, {
  magic: u32('0x5145564d, "QEVM"'),
  version: u32("3"),
});

/** What follows the type byte of PART and END, and of FOOTER. */
export const sectionId = layout("section id", `${SPEC}: sections`, {
  id: u32("number of the section, given by its START or FULL"),
});

export const commandHeader = layout("COMMAND", `${SPEC}: commands`, {
  command: u16("what the destination must do"),
  length: u16("bytes of data that follow"),
});

export const ramRecord = layout("RAM record", `${SPEC}: section "ram", version 4`, {
  addressHigh: u32("offset inside the block, or the sum of all block lengths, upper half"),
  addressLow: u32("lower half; its low 12 bits are flags"),
});

export const blockLength = layout("RAM block list entry, after the name", `${SPEC}: block list`, {
  length: u64("bytes of the block in use"),
});

export const xbzrleHeader = layout("XBZRLE page", `${SPEC}: XBZRLE`, {
  encoding: u8("1"),
  length: u16("bytes of the difference that follow"),
});

export const mappedRamHeader = layout("mapped-ram block header", `${SPEC}: mapped-ram`, {
  version: u32("1"),
  pageSize: u64("bytes per page"),
  bitmapOffset: u64("offset of the bitmap of present pages"),
  pagesOffset: u64("offset of page 0 of the block"),
});

/** Pages of a block in a mapped-ram file begin at a multiple of this. */
export const MAPPED_ALIGNMENT = 1 << 20;

/** Type bytes of sections. */
export const SECTION = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  description: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** Flags of a RAM record. */
export const FLAG = {
  zero: 0x02,
  memSize: 0x04,
  page: 0x08,
  eos: 0x10,
  continue: 0x20,
  xbzrle: 0x40,
  hook: 0x80,
  compress: 0x100,
  multifdFlush: 0x200,
} as const;

const COMMANDS = new Map([
  [1, "OPEN_RETURN_PATH"],
  [2, "PING"],
  [3, "POSTCOPY_ADVISE"],
  [4, "POSTCOPY_LISTEN"],
  [5, "POSTCOPY_RUN"],
  [6, "POSTCOPY_RAM_DISCARD"],
  [7, "POSTCOPY_RESUME"],
  [8, "PACKAGED"],
  [9, "RECV_BITMAP"],
  [10, "ENABLE_COLO"],
  [11, "SWITCHOVER_START"],
]);

export function commandName(command: number): string {
  return COMMANDS.get(command) ?? `command ${command}`;
}

/** `PAGE|CONTINUE`. */
export function flagNames(flags: number): string {
  const known = Object.entries(FLAG).filter(([, bit]) => (flags & bit) !== 0);
  const rest = known.reduce((left, [, bit]) => left & ~bit, flags);
  const names = known.map(([name]) => name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase());
  return [...names, ...(rest === 0 ? [] : [`0x${rest.toString(16)}`])].join("|") || "no flag";
}

/** Bytes per page where nothing in the stream says otherwise. */
export const DEFAULT_PAGE_SIZE = 4096;

/** Largest zlib result for one page: what `compressBound` allows, with room for other libraries. */
export function compressedLimit(pageSize: number): number {
  return pageSize + (pageSize >> 8) + 64;
}
