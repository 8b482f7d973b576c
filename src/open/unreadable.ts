import { latin1 } from "../binary/layout.js";
import type { Remedy } from "../findings/errors.js";
import type { Rule } from "../findings/rule.js";
import { detectCompression } from "../io/codecs/compressions.js";
import { OPEN_RULES } from "./rules.js";

/** Command that unpacks each kind of compressed file to standard output. */
const UNPACK: Readonly<Record<string, string>> = {
  gzip: "gunzip -c",
  xz: "xz -dc",
  zstd: "zstd -dc --long=31",
  lz4: "lz4 -dc",
  bzip2: "bunzip2 -c",
  lzop: "lzop -dc",
  zlib: "pigz -dc",
};

const KINDS: readonly (readonly [start: string, kind: string])[] = [
  ["\xff\xd8\xff", "a JPEG picture"],
  ["\x89PNG", "a PNG picture"],
  ["GIF8", "a GIF picture"],
  ["%PDF-", "a PDF document"],
  ["PK\x03\x04", "a zip archive: unpack it first"],
  ["7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"],
  ["# Disk DescriptorFile", "a VMDK disk image, not a saved guest"],
  ["KDMV", "a VMDK disk image, not a saved guest"],
  ["vhdxfile", "a VHDX disk image, not a saved guest"],
  ["<?xml", "an XML document"],
  ["#!", "a script"],
  ["PAGEDU64", "a Windows crash dump"],
  ["PAGEDUMP", "a Windows crash dump"],
];

/** What reads memory without a header, which nothing tells. */
const RAW: Remedy = { option: "format", value: "raw", effect: "takes the input for raw memory" };

const TAR_MAGIC_AT = 257;

/**
 * What an input is that no format takes, and what to do about it.
 * @param name of the input, for the command that unpacks it
 */
export function describeUnreadable(
  head: Uint8Array,
  name: string,
): { rule: Rule; message: string; remedy?: Remedy } {
  if (head.length === 0) return { rule: OPEN_RULES.empty, message: "the input is empty" };
  const compression = detectCompression(head);
  if (compression !== undefined) {
    const command = `${UNPACK[compression] ?? compression} ${name === "stdin" ? "" : `${name} `}| guestscope …`;
    return {
      rule: OPEN_RULES.compressed,
      message: `${compression} data: unpack it on the way, '${command.replace("  ", " ")} -'`,
    };
  }
  const start = latin1(head.subarray(0, 512));
  const kind = KINDS.find(([magic]) => start.startsWith(magic));
  if (kind !== undefined) return { rule: OPEN_RULES.unknown, message: `looks like ${kind[1]}` };
  if (start.startsWith("ustar", TAR_MAGIC_AT)) {
    return { rule: OPEN_RULES.unknown, message: "looks like a tar archive: unpack it first" };
  }
  if (head.every((byte) => byte === 0)) {
    return {
      rule: OPEN_RULES.unknown,
      message: `starts with ${head.length} zero bytes: no format does`,
      remedy: RAW,
    };
  }
  if (/^[\t\n\r\x20-\x7e]+$/.test(start)) return { rule: OPEN_RULES.unknown, message: "looks like a text" };
  const bytes = Array.from(head.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { rule: OPEN_RULES.unknown, message: `no known format starts with ${bytes}`, remedy: RAW };
}
