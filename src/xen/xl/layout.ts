import { latin1Bytes, layout, bytes, u32 } from "../../binary/layout.js";

const SPEC = "xl save file";

/** First bytes of a file written by `xl save`; exactly 32, no closing NUL. */
export const XL_MAGIC: Uint8Array = latin1Bytes("Xen saved domain, xl format\n \0 \r");

/** Value of `byteorder` in the order the header was written in. */
export const XL_BYTE_ORDER = 0x01020304;

/** Bits of mandatory_flags. */
export const XL_FLAGS = {
  /** The configuration is JSON; without it an xl configuration file. */
  json: 1 << 0,
  /** A libxl stream follows; without it a legacy stream. */
  streamV2: 1 << 1,
} as const;

/** Bits of mandatory_flags that have a meaning: any other one makes the file unreadable. */
export const XL_KNOWN_FLAGS: number = XL_FLAGS.json | XL_FLAGS.streamV2;

/** Byte order: that in which the field `byteorder` reads 0x01020304. */
export const xlHeader = layout("xl header", `${SPEC}: header`, {
  magic: bytes(32, "'Xen saved domain, xl format\\n \\0 \\r'"),
  byteorder: u32("0x01020304 in the order of this header"),
  mandatoryFlags: u32("bit 0: configuration is JSON, bit 1: a libxl stream follows"),
  optionalFlags: u32("none defined: 0"),
  optionalDataLength: u32("bytes that follow, up to the stream"),
});

/** Start of the optional data. */
export const xlOptionalData = layout("xl optional data", `${SPEC}: optional data`, {
  configLength: u32("bytes of the configuration, its closing NUL included"),
});
