import { layout, u32, u64 } from "../../binary/layout.js";

/** Where the format is defined. Numbers are little-endian. */
export const AVML_SPEC = "AVML memory dump format, version 2";

/** `AVML` as a little-endian word. */
export const AVML_MAGIC = 0x4c4d_5641;
export const AVML_VERSION = 2;

/** In front of each block; framed Snappy data and avmlTrailer follow. */
export const avmlHeader = layout("AVML block header", AVML_SPEC, {
  magic: u32("0x4c4d5641"),
  version: u32("2"),
  start: u64("guest-physical address of the block's first byte"),
  end: u64("guest-physical address of its last byte (inclusive)"),
  padding: u64("0"),
});

/** After each block's Snappy data. */
export const avmlTrailer = layout("AVML block trailer", AVML_SPEC, {
  size: u64("bytes of the block"),
});

/** In front of each chunk of framed Snappy data. */
export const CHUNK_HEADER = 4;
/** A chunk's checksum, before its data. */
export const CHUNK_CHECKSUM = 4;
/** Kinds of chunks. Those from 0x80 on may be passed over, those from 2 to 0x7f not. */
export const CHUNK = { compressed: 0, uncompressed: 1, skippable: 0x80, streamIdentifier: 0xff } as const;
/** A chunk unpacks to this at most. */
export const LARGEST_CHUNK = 65_536;
