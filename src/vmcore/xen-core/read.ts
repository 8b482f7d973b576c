import { ElfFile } from "../../elf/file.js";
import { salvageNotes } from "../../elf/notes-salvage.js";
import type { ElfSection } from "../../elf/section.js";
import { type ElfNote, readNotes } from "../../elf/notes.js";
import { formatError } from "../../findings/diagnostics.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import { ELF_RULES } from "../../elf/rules.js";
import { pvContext64 } from "../../guest/pv-context.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { XEN_CORE_MAGIC_HVM, XEN_CORE_MAGIC_PV, XEN_NOTE, xenCoreHeader, xenCoreVersion } from "./layout.js";
import { XEN_CORE_RULES } from "./rules.js";

/** Xen cores are of x86 alone. */
const ORDER = "little";
const WINDOW = 1 << 20;
/** Frames at or beyond this are of no machine. */
export const MAX_FRAME = 2 ** 40;
/** Frame number of the pages that `xl dump-core` made room for and didn't need: all ones. */
export const UNUSED = -1;
/** A vCPU's context and the shared info page are small; nobody has more vCPUs than this. */
const MOST_VCPUS = 8192;

/** A file of `xl dump-core` with its notes and sections. */
export interface XenCore {
  readonly input: ByteSource;
  readonly sections: readonly ElfSection[];
  readonly isPv: boolean;
  readonly vcpus: number;
  readonly pages: number;
  readonly pageSize: number;
  readonly version: string | undefined;
  readonly contents: ElfSection;
  /** `.xen_p2m` (frame, machine frame) or `.xen_pfn` (frame), in the order of the pages. */
  readonly frames: ElfSection;
  readonly entrySize: 8 | 16;
  readonly contexts: readonly Uint8Array[];
  readonly sharedInfo: Uint8Array | undefined;
}

/** What the header note says. */
export type XenCoreFacts = Pick<XenCore, "isPv" | "vcpus" | "pages" | "pageSize">;

/** Reads notes and sections of a Xen core. @throws FormatError */
export async function openXenCore(input: ByteSource): Promise<XenCore> {
  const elf = await ElfFile.open(input);
  const sections = await elf.sections().catch((error: unknown) => {
    if (!(error instanceof FormatError) || error.rule !== ELF_RULES.truncated) throw error;
    // the names come last, after the table of frames
    const lost = "the section names at its end and the table of frames before them: no page can be placed";
    throw failure(input, "truncated", input.size, `the file ends before ${lost}`);
  });
  return readXenCore(input, sections);
}

/**
 * Reads what sections hold. @param facts what the header note says, where it can't be asked
 * @throws FormatError
 */
export async function readXenCore(
  input: ByteSource,
  sections: readonly ElfSection[],
  facts?: XenCoreFacts,
): Promise<XenCore> {
  const find = (name: string): ElfSection | undefined => sections.find((section) => section.name === name);
  const need = (name: string): ElfSection => {
    const section = find(name);
    if (section === undefined) throw failure(input, "sections", 0, `there is no section ${name}`);
    return section;
  };
  const noteSection = need(".note.Xen");
  if (noteSection.size > WINDOW) throw failure(input, "sections", noteSection.offset, "notes beyond 1 MiB");
  const notes = await xenNotes(input, noteSection, facts !== undefined);
  const known = facts ?? factsOf(input, noteSection, notes);
  const p2m = find(".xen_p2m");
  const status = find(".xen_prstatus");
  const shared = find(".xen_shared_info");
  return {
    input,
    sections,
    ...known,
    version: versionOf(notes, facts !== undefined),
    contents: need(".xen_pages"),
    frames: p2m ?? need(".xen_pfn"),
    entrySize: p2m === undefined ? 8 : 16,
    contexts: status === undefined ? [] : await readContexts(input, status),
    sharedInfo: shared === undefined || shared.size > WINDOW ? undefined : await dataOf(input, shared),
  };
}

const failure = (
  input: ByteSource,
  rule: keyof typeof XEN_CORE_RULES,
  offset: number,
  message: string,
): FormatError => formatError(XEN_CORE_RULES[rule], input.name, { offset }, message);

/** Xen's version among notes; undefined where it isn't, or is damaged. @throws FormatError for a damaged one otherwise */
function versionOf(notes: readonly ElfNote[], isDamaged: boolean): string | undefined {
  const told = notes.find(({ name, type }) => name === "Xen" && type === XEN_NOTE.version);
  if (told === undefined || told.descriptor.length < xenCoreVersion.size) return undefined;
  try {
    const { major, minor, extra } = xenCoreVersion.decode(told.descriptor, ORDER);
    return `${major}.${minor}${extra}`;
  } catch (error) {
    if (isDamaged && error instanceof FormatError) return undefined;
    throw error;
  }
}

async function xenNotes(
  input: ByteSource,
  section: ElfSection,
  isDamaged: boolean,
): Promise<readonly ElfNote[]> {
  const bytes = await dataOf(input, section);
  if (isDamaged) return salvageNotes(bytes, ORDER, section.offset).notes;
  return Array.from(readNotes(bytes, ORDER, { source: input.name, offset: section.offset }));
}

/** What the header note among notes says. @throws FormatError where there is none, or an impossible one */
export function factsOf(
  input: ByteSource,
  { offset }: Pick<ElfSection, "offset">,
  notes: readonly ElfNote[],
): XenCoreFacts {
  const header = notes.find(({ name, type }) => name === "Xen" && type === XEN_NOTE.header);
  if (header === undefined || header.descriptor.length < xenCoreHeader.size)
    throw failure(input, "header", offset, "there is no header note");
  const { magic, vcpus, pages, pageSize } = xenCoreHeader.decode(header.descriptor, ORDER);
  if (magic !== XEN_CORE_MAGIC_PV && magic !== XEN_CORE_MAGIC_HVM)
    throw failure(
      input,
      "header",
      header.offset,
      `magic 0x${magic.toString(16)} is neither a PV nor an HVM guest's`,
    );
  const isPage = pageSize >= 4096 && pageSize <= 65536 && (pageSize & (pageSize - 1)) === 0;
  if (!isPage || vcpus > MOST_VCPUS)
    throw failure(input, "header", header.offset, `${vcpus} vCPUs, pages of ${pageSize} bytes`);
  return { isPv: magic === XEN_CORE_MAGIC_PV, vcpus, pages, pageSize };
}

/** The bytes of a small section. @throws TruncatedError where the file ends before it does */
async function dataOf(input: ByteSource, { name, offset, size }: ElfSection): Promise<Uint8Array> {
  const missing = offset + size - input.size;
  if (missing > 0)
    throw new TruncatedError(XEN_CORE_RULES.truncated, `the file ends within section ${name}`, missing, {
      source: input.name,
      offset,
    });
  const bytes = new Uint8Array(size);
  await readFully(input, offset, bytes);
  return bytes;
}

async function readContexts(input: ByteSource, section: ElfSection): Promise<Uint8Array[]> {
  const size = section.entrySize === 0 ? pvContext64.size : section.entrySize;
  const count = Math.floor(section.size / size);
  if (count > MOST_VCPUS) throw failure(input, "sections", section.offset, `${count} vCPUs`);
  const bytes = await dataOf(input, section);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** Called with a page: its place among the contents, its frame, its machine frame (the same for HVM guests). */
export type PageHandler = (index: number, frame: number, machine: number) => void;

/**
 * Tells `page` of each page's frame, in the order of the contents. `translated` counts those whose machine frame
 * is another.
 */
export async function eachFrame(
  core: XenCore,
  page: PageHandler,
): Promise<{ readonly missing: number; readonly translated: number }> {
  const { frames, entrySize, input } = core;
  const count = Math.floor(frames.size / entrySize);
  const reader = new ByteReader(input, { start: frames.offset, window: WINDOW });
  const little = true;
  let translated = 0;
  for (let at = 0; at < count; ) {
    await reader.need(Math.min(WINDOW, (count - at) * entrySize));
    const step = Math.min(Math.floor(reader.available / entrySize), count - at);
    if (step === 0) return { missing: count - at, translated };
    for (let i = 0; i < step; i += 1) {
      const offset = reader.at + i * entrySize;
      const frame = frameAt(reader.view, offset, little);
      const machine = entrySize === 16 ? frameAt(reader.view, offset + 8, little) : frame;
      if (machine !== frame) translated += 1;
      page(at + i, frame, machine);
    }
    reader.take(step * entrySize);
    at += step;
  }
  return { missing: 0, translated };
}

function frameAt(view: DataView, at: number, little: boolean): number {
  const high = view.getUint32(at + (little ? 4 : 0), little);
  const low = view.getUint32(at + (little ? 0 : 4), little);
  if (high === 0xffff_ffff && low === 0xffff_ffff) return UNUSED;
  return high >= 0x20_0000 ? MAX_FRAME : high * 2 ** 32 + low;
}
