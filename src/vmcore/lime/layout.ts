import { layout, bytes, type RecordOf, u32, u64 } from "../../binary/layout.js";

/** `LiME` read as a little-endian word of `EMiL`. */
export const LIME_MAGIC = 0x4c69_4d45;
export const LIME_VERSION = 1;

/** In front of each range's contents. */
export const limeHeader = layout("LiME range header", "LiME memory dump format, version 1", {
  magic: u32("0x4c694d45"),
  version: u32("1"),
  s_addr: u64("first guest-physical address of the range"),
  e_addr: u64("last guest-physical address of the range (inclusive)"),
  reserved: bytes(8, "0"),
});

export type LimeHeader = RecordOf<typeof limeHeader>;
