import { latin1Bytes } from "../../binary/layout.js";
import { encodeNote } from "../../elf/notes.js";
import type { GuestImage } from "../../guest/image.js";
import { parseVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import { NT_PRSTATUS } from "../../elf/layout.js";
import {
  COMPRESSION_FLAGS,
  HEADER_VERSION,
  headerLayout,
  KDUMP_SIGNATURE,
  pageDescriptor,
  subHeaderLayout,
} from "./layout.js";
import { guestNotes, provenanceNote } from "../notes.js";
import type { AddressRange } from "../../guest/output-format.js";
import { roundUp } from "../../io/alignment.js";

const TWO_32 = 2 ** 32;

/** Where the parts of a dump to be written lie, and its headers. */
export interface KdumpPlan {
  /** Header, sub-header and notes, from offset 0. */
  readonly head: Uint8Array;
  readonly blockSize: number;
  readonly bitmapOffset: number;
  /** Bytes of one bitmap. */
  readonly bitmapSize: number;
  readonly descriptorOffset: number;
  /** Descriptors: pages dumped. */
  readonly pages: number;
  /** Where page contents start: the shared page of zeros. */
  readonly dataOffset: number;
}

/** What decides the headers. */
export interface KdumpInput {
  readonly guest: GuestImage;
  readonly blockSize: number;
  /** Memory to be dumped, whole blocks, ascending. */
  readonly runs: readonly AddressRange[];
  /** End of the highest memory that exists. */
  readonly end: number;
  /** A name of COMPRESSION_FLAGS, or `none`. */
  readonly compress: string;
  /** The kernel's own line about itself, where it is known. */
  readonly banner: string | undefined;
}

const compressionFlag = (compress: string): number =>
  Object.entries(COMPRESSION_FLAGS).find(([name]) => name === compress)?.[1] ?? 0;

/** Lays out a plain dump, diskdump version 6. */
export function planKdump({ guest, blockSize, runs, end, compress, banner }: KdumpInput): KdumpPlan {
  const { arch, facts } = guest;
  const { bits, order } = arch;
  const subLayout = subHeaderLayout(bits);
  const text = facts.vmcoreInfo?.text;
  const info = parseVmcoreInfo(text ?? "");

  const known = guestNotes(guest);
  const notesAt = blockSize + subLayout.size;
  const encoded = [...known, provenanceNote(guest)].map((note) => ({
    note,
    bytes: encodeNote(note.name, note.type, note.descriptor, order),
  }));
  let notesSize = 0;
  let textAt = 0;
  for (const { note, bytes } of encoded) {
    // the descriptor is the last of a note but for its padding
    const padded = roundUp(note.descriptor.length, 4);
    if (note.name === "VMCOREINFO") textAt = notesAt + notesSize + bytes.length - padded;
    notesSize += bytes.length;
  }
  const subBlocks = Math.ceil((subLayout.size + notesSize) / blockSize);
  const frames = Math.ceil(end / blockSize);
  const bitmapBlocks = Math.max(1, Math.ceil(Math.ceil(frames / 8) / blockSize));
  const bitmapOffset = (1 + subBlocks) * blockSize;
  const descriptorOffset = bitmapOffset + 2 * bitmapBlocks * blockSize;
  const pages = runs.reduce((sum, run) => sum + (run.end - run.start) / blockSize, 0);

  const { specific } = facts;
  const head = new Uint8Array(bitmapOffset);
  const none = new Uint8Array(0);
  head.set(
    headerLayout(bits).encode(
      {
        signature: KDUMP_SIGNATURE,
        header_version: HEADER_VERSION,
        // libkdumpfile takes no member, the machine among them, unless none is empty
        sysname: text === undefined ? UNKNOWN : "Linux",
        nodename: utsMember(facts.name),
        release: utsMember(info.get("OSRELEASE")),
        version: utsMember(/#\d+ [^\n]*/.exec(banner ?? "")?.[0]),
        machine: arch.uname,
        domainname: UNKNOWN,
        padding: none,
        timestamp: [0n, 0n],
        status: compressionFlag(compress),
        block_size: blockSize,
        sub_hdr_size: subBlocks,
        bitmap_blocks: 2 * bitmapBlocks,
        max_mapnr: frames % TWO_32,
        total_ram_blocks: 0,
        device_blocks: 0,
        written_blocks: 0,
        current_cpu: 0,
        nr_cpus: known.filter(({ name, type }) => name === "CORE" && type === NT_PRSTATUS).length,
      },
      order,
    ),
  );
  head.set(
    subLayout.encode(
      {
        phys_base: physBase(info.get("NUMBER(phys_base)")),
        // zero pages are shared, as level 1 has it
        dump_level: specific?.kind === "kdump" ? specific.dumpLevel : 1,
        split: 0,
        start_pfn: 0n,
        end_pfn: 0n,
        offset_vmcoreinfo: textAt,
        size_vmcoreinfo: textAt === 0 ? 0 : latin1Bytes(text ?? "").length,
        offset_note: notesAt,
        size_note: notesSize,
        offset_eraseinfo: 0,
        size_eraseinfo: 0,
        start_pfn_64: 0,
        end_pfn_64: 0,
        max_mapnr_64: frames,
      },
      order,
    ),
    blockSize,
  );
  let at = notesAt;
  for (const { bytes } of encoded) {
    head.set(bytes, at);
    at += bytes.length;
  }
  return {
    head,
    blockSize,
    bitmapOffset,
    bitmapSize: bitmapBlocks * blockSize,
    descriptorOffset,
    pages,
    dataOffset: descriptorOffset + pages * pageDescriptor.size,
  };
}

/** As the kernel itself says it of a name that was never set. */
const UNKNOWN = "(none)";

function utsMember(value = ""): string {
  const text = value.replaceAll(/[^ -~]/g, "?").slice(0, 64);
  return text === "" ? UNKNOWN : text;
}

/** VMCOREINFO prints it as a signed decimal number. */
function physBase(value: string | undefined): bigint {
  return value !== undefined && /^-?\d+$/.test(value) ? BigInt(value) : 0n;
}
