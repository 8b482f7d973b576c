import { hexText } from "../binary/text.js";
import { latin1, viewOf } from "../binary/layout.js";
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
  ["<<< Oracle VM VirtualBox Disk", "a VirtualBox disk image (VDI), not a saved guest"],
  ["<<< Sun VirtualBox Disk", "a VirtualBox disk image (VDI), not a saved guest"],
  ["conectix", "a VHD disk image, not a saved guest"],
  ["\x7fVirtualBox SavedState", "a saved state of VirtualBox (.sav), which is not read here"],
  [
    "\xd0\xbe\xd2\xbe",
    "a VMware suspended state (.vmss, .vmsn), which is not read here: 'vmss2core' makes a core of it",
  ],
  [
    "\xd1\xba\xd1\xba",
    "a VMware suspended state (.vmss, .vmsn), which is not read here: 'vmss2core' makes a core of it",
  ],
  [
    "\xd2\xbe\xd2\xbe",
    "a VMware suspended state (.vmss, .vmsn), which is not read here: 'vmss2core' makes a core of it",
  ],
  [
    "\xd3\xbe\xd3\xbe",
    "a VMware suspended state (.vmss, .vmsn), which is not read here: 'vmss2core' makes a core of it",
  ],
  ["\x14\x20\x28\x01", "a Hyper-V saved state (.vmrs), which is not read here"],
  [
    "VMA\0",
    "a Proxmox backup (.vma): it holds disks and configuration, no memory unless 'vma extract' shows some",
  ],
  ["\xed\x23\x8f\x61\x73\x01\x19\xa8", "an LKCD dump, which is not read here"],
  ["hibr", "a Windows hibernation file (hiberfil.sys), which is not read here"],
  ["HIBR", "a Windows hibernation file (hiberfil.sys), which is not read here"],
  ["wake", "a Windows hibernation file (hiberfil.sys), resumed since: little is left in it"],
  ["WAKE", "a Windows hibernation file (hiberfil.sys), resumed since: little is left in it"],
  ["PAGEDU64", "a Windows crash dump"],
  ["PAGEDUMP", "a Windows crash dump"],
];

/** What reads memory without a header, which nothing shows. */
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
  const built = describeBuilt(head, start);
  if (built !== undefined) return { rule: OPEN_RULES.unknown, message: built };
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
  const bytes = hexText(head.subarray(0, 16), " ");
  return { rule: OPEN_RULES.unknown, message: `no known format starts with ${bytes}`, remedy: RAW };
}

/** Where a Linux kernel image for x86 has its setup header's magic (Documentation/arch/x86/boot.rst). */
const SETUP_HEADER_AT = 0x202;
/** e_type of relocatable files, programs, and programs that run anywhere or libraries. */
const ELF_TYPES = ["", "an object file", "a program", "a program or library"];

/** Names what a build made: kernels and programs, which people give in place of dumps. */
function describeBuilt(head: Uint8Array, start: string): string | undefined {
  const magic = latin1(head.subarray(SETUP_HEADER_AT, SETUP_HEADER_AT + 4));
  if (magic === "HdrS") return "looks like a Linux kernel image (bzImage), not a dump of one that runs";
  if (!start.startsWith("\x7fELF") || head.length < 20) return undefined;
  const type = viewOf(head).getUint16(16, head[5] !== 2);
  const kind = ELF_TYPES[type];
  if (kind === undefined || kind === "") return undefined;
  return `looks like ${kind} (ELF), not a dump; a vmlinux goes with the dump of its kernel`;
}
