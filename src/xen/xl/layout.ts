import { layout, text, u32 } from "../../binary/layout.js";

/** The 32 octets every xl save file starts with. */
export const XL_MAGIC = "Xen saved domain, xl format\n \0 \r";
/** Value of `byteorder` as read in the order the file was written in. */
export const XL_BYTE_ORDER = 0x01020304;

/** mandatory_flags: the configuration is JSON. */
export const XL_FLAG_JSON = 1;
/** mandatory_flags: what follows is a libxl stream of version 2; without it, a legacy libxc stream. */
export const XL_FLAG_STREAM_V2 = 2;
export const XL_KNOWN_FLAGS: number = XL_FLAG_JSON | XL_FLAG_STREAM_V2;

/** Host order, told by `byteorder`. */
export const XL_HEADER = layout("xl save file header", "xl save format", {
  magic: text(32, "`Xen saved domain, xl format\\n \\0 \\r`"),
  byteorder: u32("0x01020304 in the order of all fields of this header"),
  mandatoryFlags: u32("bit 0: config is JSON; bit 1: a libxl stream of version 2 follows"),
  optionalFlags: u32("0"),
  optionalDataLength: u32("octets of optional data that follow"),
});

/** Head of the optional data. */
export const XL_CONFIG_HEADER = layout("xl optional data", "xl save format", {
  configLength: u32("octets of configuration text that follow; a NUL may end it"),
});
