import { viewOf } from "../../binary/layout.js";
import { ElfFile, type ElfSection } from "../../elf/file.js";
import { ehdr64, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_CORE } from "../../elf/layout.js";
import { readNotes } from "../../elf/notes.js";
import { rules } from "../../findings/finding.js";
import { type Report, violation } from "../../findings/report.js";
import { type GuestImage, I386, X86_64 } from "../../guest/image.js";
import type { Inspection, InputFormat, OpenOptions } from "../../guest/input-format.js";
import { withVmcoreInfo } from "../../guest/kernel/vmcoreinfo.js";
import { PageMap } from "../../guest/page-map.js";
import { pvContext32, pvContext64 } from "../../guest/pv-context.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import type { Vcpu } from "../../guest/vcpu.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, needSource } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import { type GuestSummary, summarizeGuest } from "../guest-summary.js";
import { XEN_CORE_MAGIC_HVM, XEN_CORE_MAGIC_PV, XEN_NOTE, xenCoreHeader, xenCoreVersion } from "./layout.js";

const SPEC = "Xen dump-core format (docs/misc/dump-core-format.txt)";
const WINDOW = 1 << 20;
/** FXSAVE area at the start of a context. */
const FPU_SIZE = 512;
const MAX_FRAME = 2 ** 40;
/** Frame number of the pages that `xl dump-core` made room for and didn't need: all ones. */
const UNUSED = -1;
/** A processor's context and the shared info page are small; nobody has more processors than this. */
const MOST_VCPUS = 8192;

export const XEN_CORE_RULES = rules({
  sections: {
    code: "vmcore/xen-core/sections",
    severity: "error",
    spec: SPEC,
    explanation:
      "A section that the format needs (.note.Xen, .xen_pages, .xen_p2m or .xen_pfn) is missing or damaged.",
  },
  header: {
    code: "vmcore/xen-core/header",
    severity: "error",
    spec: SPEC,
    explanation: "The note with the kind of guest, processors, pages and page size is missing or impossible.",
  },
  count: {
    code: "vmcore/xen-core/count",
    severity: "error",
    spec: SPEC,
    explanation: "The sections hold another number of pages than the header note or one another.",
  },
  truncated: {
    code: "vmcore/xen-core/truncated",
    severity: "error",
    spec: SPEC,
    explanation: "The file ends before the contents of its pages do: those pages are absent.",
  },
  frame: {
    code: "vmcore/xen-core/frame",
    severity: "warning",
    spec: SPEC,
    explanation: "A page belongs to no frame, or to the frame of another page (the later one holds).",
  },
});

/** A file of `xl dump-core` with its notes and sections. */
interface XenCore {
  readonly elf: ElfFile;
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

async function openXenCore(input: ByteSource): Promise<XenCore> {
  const elf = await ElfFile.open(input);
  const sections = await elf.sections();
  const fail = (rule: keyof typeof XEN_CORE_RULES, offset: number, message: string): FormatError =>
    violation(XEN_CORE_RULES[rule], input.name, { offset }, message);
  const find = (name: string): ElfSection | undefined => sections.find((section) => section.name === name);
  const need = (name: string): ElfSection => {
    const section = find(name);
    if (section === undefined) throw fail("sections", elf.header.e_shoff, `there is no section ${name}`);
    return section;
  };
  const noteSection = need(".note.Xen");
  if (noteSection.size > WINDOW) throw fail("sections", noteSection.offset, "notes beyond 1 MiB");
  const place = { source: input.name, offset: noteSection.offset };
  const notes = Array.from(readNotes(await elf.sectionData(noteSection), elf.order, place));
  const header = notes.find(({ name, type }) => name === "Xen" && type === XEN_NOTE.header);
  if (header === undefined || header.descriptor.length < xenCoreHeader.size)
    throw fail("header", noteSection.offset, "there is no header note");
  const { magic, vcpus, pages, pageSize } = xenCoreHeader.decode(header.descriptor, elf.order);
  if (magic !== XEN_CORE_MAGIC_PV && magic !== XEN_CORE_MAGIC_HVM)
    throw fail("header", header.offset, `magic 0x${magic.toString(16)} is neither a PV nor an HVM guest's`);
  const isPage = pageSize >= 4096 && pageSize <= 65536 && (pageSize & (pageSize - 1)) === 0;
  if (!isPage || vcpus > MOST_VCPUS)
    throw fail("header", header.offset, `${vcpus} processors, pages of ${pageSize} bytes`);
  const told = notes.find(({ name, type }) => name === "Xen" && type === XEN_NOTE.version);
  const version =
    told === undefined || told.descriptor.length < xenCoreVersion.size
      ? undefined
      : xenCoreVersion.decode(told.descriptor, elf.order);
  const p2m = find(".xen_p2m");
  const status = find(".xen_prstatus");
  const shared = find(".xen_shared_info");
  return {
    elf,
    isPv: magic === XEN_CORE_MAGIC_PV,
    vcpus,
    pages,
    pageSize,
    version: version === undefined ? undefined : `${version.major}.${version.minor}${version.extra}`,
    contents: need(".xen_pages"),
    frames: p2m ?? need(".xen_pfn"),
    entrySize: p2m === undefined ? 8 : 16,
    contexts: status === undefined ? [] : await readContexts(elf, status),
    sharedInfo: shared === undefined || shared.size > WINDOW ? undefined : await elf.sectionData(shared),
  };
}

async function readContexts(elf: ElfFile, section: ElfSection): Promise<Uint8Array[]> {
  const size = section.entrySize === 0 ? pvContext64.size : section.entrySize;
  const count = Math.floor(section.size / size);
  if (count > MOST_VCPUS)
    throw violation(XEN_CORE_RULES.sections, elf.name, { offset: section.offset }, `${count} processors`);
  const bytes = await elf.sectionData(section);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** Told of a page: its place among the contents, its frame, the machine frame behind that (the same for HVM guests). */
type PageHandler = (index: number, frame: number, machine: number) => void;

/**
 * Tells `page` of each page's frame, in the order of the contents. `translated` counts those whose machine frame
 * is another.
 */
async function eachFrame(
  core: XenCore,
  page: PageHandler,
): Promise<{ readonly missing: number; readonly translated: number }> {
  const { frames, entrySize, elf } = core;
  const count = Math.floor(frames.size / entrySize);
  const reader = new ByteReader(elf.source, { start: frames.offset, window: WINDOW });
  const little = elf.order === "little";
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

/** Enters runs of pages whose frames and contents follow one another. */
class RunJoiner {
  readonly #add: (first: number, count: number, index: number) => void;
  #first = 0;
  #count = 0;
  #index = 0;

  constructor(add: (first: number, count: number, index: number) => void) {
    this.#add = add;
  }

  page(index: number, frame: number): void {
    if (this.#count > 0 && frame === this.#first + this.#count && index === this.#index + this.#count) {
      this.#count += 1;
      return;
    }
    this.finish();
    this.#first = frame;
    this.#index = index;
    this.#count = 1;
  }

  finish(): void {
    if (this.#count > 0) this.#add(this.#first, this.#count, this.#index);
    this.#count = 0;
  }
}

async function openXenCoreGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  return xenCoreGuest(await openXenCore(input), options.partial === true);
}

async function xenCoreGuest(core: XenCore, partial: boolean): Promise<GuestImage> {
  const { contents, pageSize } = core;
  const input = core.elf.source;
  const there = Math.floor(Math.max(0, Math.min(contents.size, input.size - contents.offset)) / pageSize);
  const memory = new PageMap(input, { pageSize });
  const joiner = new RunJoiner((first, count, index) => {
    const present = Math.max(0, Math.min(count, there - index));
    if (present > 0) memory.set(first, present, contents.offset + index * pageSize);
    if (present < count) memory.absent(first + present, count - present, "lost: the file ends before it");
  });
  let strays = 0;
  const frames = new MachineFrames(core.contexts);
  // machine frames as "offsets" of a map: a few bytes a run
  const machines = new PageMap(input, { pageSize });
  const ofMachines = new RunJoiner((first, count, machine) => machines.set(first, count, machine * pageSize));
  const { missing, translated } = await eachFrame(core, (index, frame, machine) => {
    frames.page(frame, machine);
    if (frame >= MAX_FRAME) strays += 1;
    else if (frame !== UNUSED) {
      joiner.page(index, frame);
      if (core.isPv && machine >= 0 && machine < MAX_FRAME) ofMachines.page(machine, frame);
    }
  });
  joiner.finish();
  ofMachines.finish();
  const warnings = [
    ...(missing > 0 ? [`the file ends before the frame numbers of ${missing} pages`] : []),
    ...(strays > 0 ? [`${strays} pages belong to no frame`] : []),
    ...(translated > 0
      ? ["page tables and cr3 hold machine frames (see .xen_p2m), not the guest's own"]
      : []),
  ];
  if (missing > 0 && !partial)
    throw violation(
      XEN_CORE_RULES.truncated,
      input.name,
      { offset: core.frames.offset },
      `the file ends before the frame numbers of ${missing} pages`,
    );
  return withVmcoreInfo({
    arch: core.contexts[0]?.length === pvContext32.size ? I386 : X86_64,
    memory,
    vcpus: await Promise.all(core.contexts.map((context, id) => vcpuOf(id, context, memory, frames))),
    facts: {
      origin: "Xen core (xl dump-core)",
      source: input.name,
      guestType: core.isPv ? "PV" : "HVM",
      ...(core.version === undefined ? {} : { hypervisor: `Xen ${core.version}` }),
    },
    warnings,
    ...(translated === 0 ? {} : { machineFrame: (frame) => machineAt(machines, frame) }),
    ...(core.sharedInfo === undefined ? {} : { raw: { shared_info: core.sharedInfo } }),
  });
}

function machineAt(machines: PageMap, frame: number): number | undefined {
  const place = machines.at(frame);
  return place.kind === "source" ? place.offset / machines.pageSize : undefined;
}

/** The guest's own numbers of the machine frames that its processors' contexts name: their GDTs. */
class MachineFrames {
  readonly #frames = new Map<number, number>();
  readonly #wanted = new Set<number>();

  constructor(contexts: readonly Uint8Array[]) {
    for (const context of contexts) {
      if (context.length !== pvContext64.size) continue;
      for (const frame of pvContext64.decode(context, "little").gdtFrames)
        if (frame > 0n && frame < MAX_FRAME) this.#wanted.add(Number(frame));
    }
  }

  page(frame: number, machine: number): void {
    if (this.#wanted.has(machine)) this.#frames.set(machine, frame);
  }

  of(machine: number): number | undefined {
    return this.#frames.get(machine);
  }
}

async function vcpuOf(
  id: number,
  context: Uint8Array,
  memory: PageMap,
  frames: MachineFrames,
): Promise<Vcpu> {
  if (context.length !== pvContext64.size && context.length !== pvContext32.size)
    return { id, raw: { context } };
  const raw = { context, fpu: context.subarray(0, FPU_SIZE) };
  return { id, registers: await pvRegisters(context, memory, (frame) => frames.of(frame)), raw };
}

/** What `inspect` says of a Xen core. */
export interface XenCoreInspection extends Inspection, GuestSummary {
  readonly kind: "xen-core";
  readonly guestType: "PV" | "HVM";
  readonly xenVersion?: string;
  /** Pages that there is room for; those of no frame among them. */
  readonly pages: number;
  readonly pageSize: number;
  readonly sections: readonly { readonly name: string; readonly offset: number; readonly size: number }[];
}

async function inspectXenCore(input: ByteSource): Promise<XenCoreInspection> {
  const core = await openXenCore(input);
  const sections = await core.elf.sections();
  const summary = await summarizeGuest(await xenCoreGuest(core, true));
  return {
    schemaVersion: 1,
    kind: "xen-core",
    source: input.name,
    ...summary,
    guestType: core.isPv ? "PV" : "HVM",
    ...(core.version === undefined ? {} : { xenVersion: core.version }),
    pages: core.pages,
    pageSize: core.pageSize,
    sections: sections.slice(1).map(({ name, offset, size }) => ({ name, offset, size })),
  };
}

async function verifyXenCore(input: ByteSource, report: Report): Promise<void> {
  let core: XenCore;
  try {
    core = await openXenCore(input);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const rule = Object.values(XEN_CORE_RULES).find(({ code }) => code === error.code);
    report.add(rule ?? XEN_CORE_RULES.sections, { offset: error.place.offset ?? 0 }, error.message);
    return;
  }
  const { contents, frames, entrySize, pageSize } = core;
  const held = Math.floor(contents.size / pageSize);
  const numbered = Math.floor(frames.size / entrySize);
  if (held !== core.pages || numbered !== core.pages)
    report.add(
      XEN_CORE_RULES.count,
      { offset: frames.offset },
      `the header counts ${core.pages} pages, .xen_pages holds ${held}, ${frames.name} numbers ${numbered}`,
    );
  if (core.contexts.length !== core.vcpus)
    report.add(
      XEN_CORE_RULES.count,
      { offset: frames.offset },
      `the header counts ${core.vcpus} processors, .xen_prstatus holds ${core.contexts.length}`,
    );
  const lost = contents.offset + contents.size - input.size;
  if (lost > 0)
    report.add(XEN_CORE_RULES.truncated, { offset: contents.offset }, `${lost} bytes of pages are missing`);
  const seen = new PageMap(input, { pageSize });
  const { missing } = await eachFrame(core, (index, frame) => {
    const place = { offset: frames.offset + index * entrySize };
    if (frame === UNUSED) return;
    if (frame >= MAX_FRAME) report.add(XEN_CORE_RULES.frame, place, `page ${index} belongs to no frame`);
    else if (seen.at(frame).kind !== "nowhere")
      report.add(XEN_CORE_RULES.frame, place, `page ${index}: frame 0x${frame.toString(16)} has come before`);
    else seen.set(frame, 1, contents.offset + index * pageSize);
  });
  if (missing > 0)
    report.add(XEN_CORE_RULES.truncated, { offset: frames.offset }, `${missing} frame numbers are missing`);
}

/** Whether an ELF core has sections only, as `xl dump-core` writes it. */
export function isXenCore(head: Uint8Array): boolean {
  if (!ElfFile.matches(head) || head.length < ehdr64.size) return false;
  if (head[4] !== ELFCLASS64 || head[5] !== ELFDATA2LSB) return false;
  const view = viewOf(head);
  const u16At = (field: "e_type" | "e_machine" | "e_phnum" | "e_shnum"): number =>
    view.getUint16(ehdr64.offsetOf(field), true);
  return (
    u16At("e_type") === ET_CORE &&
    u16At("e_machine") === EM_X86_64 &&
    u16At("e_phnum") === 0 &&
    u16At("e_shnum") > 1
  );
}

/** Memory of a Xen guest as `xl dump-core` writes it. */
export const xenCore: InputFormat = {
  id: "xen-core",
  title: "Xen core (xl dump-core)",
  needsRandomAccess: true,
  matches: isXenCore,
  verify: async (input, report) => verifyXenCore(needSource(input, "a Xen core"), report),
  inspect: async (input) => inspectXenCore(needSource(input, "a Xen core")),
  openGuest: openXenCoreGuest,
};
