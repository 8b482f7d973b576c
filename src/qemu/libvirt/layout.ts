import { array, latin1, layout, text, u32 } from "../../binary/layout.js";

const SPEC = "libvirt save file of the QEMU driver";

export const SAVE_MAGIC = "LibvirtQemudSave";
/** Stands in place of the magic while the file is being written. */
export const PART_MAGIC = "LibvirtQemudPart";
export const MAGIC_SIZE = 16;
/** Newest version there is. */
export const SAVE_VERSION = 2;

/** In the byte order of the host that wrote it. */
export const saveHeader = layout("libvirt save header", `${SPEC}: header`, {
  magic: text(MAGIC_SIZE, "LibvirtQemudSave, or LibvirtQemudPart while it is written"),
  version: u32("2; 1 knows neither compression nor cookie"),
  dataLength: u32("bytes from the end of the header to the stream"),
  wasRunning: u32("1: restore starts the guest"),
  compressed: u32("how the stream is compressed"),
  cookieOffset: u32("from the end of the header; 0: no cookie"),
  unused: array(u32("0"), 14, "zeros"),
});

/** Compression codes. `raw` is the stream as it is, `sparse` one with pages at fixed places (mapped-ram). */
export const COMPRESSION = ["raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"] as const;
export type SaveCompression = (typeof COMPRESSION)[number];

/** Whether bytes begin as a save does, whole or not. */
export function isSave(head: Uint8Array): boolean {
  const magic = latin1(head.subarray(0, MAGIC_SIZE));
  return magic === SAVE_MAGIC || magic === PART_MAGIC;
}
