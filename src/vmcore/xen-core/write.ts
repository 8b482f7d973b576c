import { viewOf, writeU64 } from "../../binary/layout.js";
import { ELFCLASS64, ELFDATA2LSB, ELF_MAGIC, ehdr64, EM_X86_64, ET_CORE, shdr64 } from "../../elf/layout.js";
import { encodeNote } from "../../elf/notes.js";
import type { GuestImage } from "../../guest/image.js";
import { X86_64 } from "../../guest/arch/x86.js";
import { PV_GENERAL_64, PV_IN_KERNEL, pvContext64 } from "../../guest/pv-context.js";
import type { Vcpu, X86Registers } from "../../guest/vcpu.js";
import type { ByteSink } from "../../io/byte-sink.js";
import { UsageError } from "../../findings/errors.js";
import { latin1Bytes } from "../../binary/layout.js";
import { type PlacedRun, SparseWriter, writeContents } from "../contents.js";
import {
  XEN_CORE_MAGIC_HVM,
  XEN_CORE_MAGIC_PV,
  XEN_NOTE,
  xenCoreFormat,
  xenCoreHeader,
  xenCoreVersion,
} from "./layout.js";
import { provenanceNote } from "../notes.js";
import { selectMemory } from "../../guest/selection.js";
import type { AddressRange, VmcoreWriter, WriteOptions, WriteReport } from "../../guest/output-format.js";
import { roundUp } from "../../io/alignment.js";

const PAGE = 4096;
const ABI_VERSION = 1;
const FORMAT_VERSION = 1;
/** VGCF_online, VGCF_in_kernel: what Xen sets for a vCPU that runs. */
const CONTEXT_ONLINE = 0x20n;
/** Frame numbers are written in windows of so many. */
const WINDOW = 32 << 10;

/** sh_type as libxc writes them. */
const SHT = { null: 0, progbits: 1, strtab: 3, note: 7 } as const;

/**
 * The form that `xl dump-core` writes: sections, no program headers. crash opens PV guests in it, for whose page
 * tables an ELF vmcore has no room. Where the source knows no machine frames, those of a PV guest are its own: the page
 * tables of a saved stream hold them so.
 */
export const xenCoreWriter: VmcoreWriter = {
  id: "xen-core",
  title: "Xen core (xl dump-core)",
  needsRandomAccess: false,
  usesKernel: "never",
  write: writeXenCore,
};

interface Section {
  readonly name: string;
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly align: number;
  readonly entry: number;
}

async function writeXenCore(guest: GuestImage, sink: ByteSink, options: WriteOptions): Promise<WriteReport> {
  if (guest.arch.machine !== X86_64.machine || guest.arch.bits !== 64)
    throw new UsageError("a Xen core can only be written of a 64-bit x86 guest");
  const isPv = guest.facts.guestType === "PV";
  const { runs, missing, present, zero, absent } = selectMemory(guest, options.range);
  for (const { start, end } of runs)
    if (start % PAGE !== 0 || end % PAGE !== 0)
      throw new UsageError(
        "a Xen core holds whole pages: this guest's memory, or the range, has parts of some",
      );
  const pages = runs.reduce((sum, run) => sum + (run.end - run.start) / PAGE, 0);

  const notes = encodeNotes(guest, isPv, pages);
  const contexts = guest.vcpus.map((vcpu) => encodeContext(vcpu, isPv));
  const shared = guest.raw?.shared_info;
  const told = provenanceNote(guest);
  // crash dies of a note in .note.Xen that isn't one of Xen's own
  const provenance = encodeNote(told.name, told.type, told.descriptor, "little");
  const sections = layOut(isPv, pages, notes.length, contexts.length, shared?.length, provenance.length);
  const writer = new SparseWriter(sink);
  const put = async (name: string, bytes: Uint8Array): Promise<void> => {
    const section = sections.find((candidate) => candidate.name === name);
    if (section !== undefined) await writer.put(section.offset, bytes);
  };
  await writer.put(0, headers(sections));
  await put(".note.Xen", notes);
  for (const [i, context] of contexts.entries()) {
    const at = sections.find(({ name }) => name === ".xen_prstatus")?.offset ?? 0;
    await writer.put(at + i * pvContext64.size, context);
  }
  if (shared !== undefined) await put(".xen_shared_info", shared);
  let offset = sections.find(({ name }) => name === ".xen_pages")?.offset ?? 0;
  const placed: PlacedRun[] = runs.map((run) => {
    const here = { ...run, offset };
    offset += run.end - run.start;
    return here;
  });
  await writeContents(guest.memory, placed, writer, (done) => options.progress?.(done, present + zero));
  const frames = sections.find(({ name }) => name === ".xen_p2m" || name === ".xen_pfn");
  await writeFrames(writer, frames?.offset ?? offset, runs, isPv ? (guest.machineFrame ?? same) : undefined);
  await put(".shstrtab", sectionNames(sections));
  await put(PROVENANCE, provenance);
  const size = sections.reduce((most, section) => Math.max(most, section.offset + section.size), 0);
  await writer.finish(size);
  return { present, zero, absent, missing, size };
}

function encodeNotes(guest: GuestImage, isPv: boolean, pages: number): Uint8Array {
  const version = /Xen (\d+)\.(\d+)(\S*)/.exec(guest.facts.hypervisor ?? "");
  const parts = [
    encodeNote("Xen", XEN_NOTE.none, new Uint8Array(0), "little"),
    encodeNote(
      "Xen",
      XEN_NOTE.header,
      xenCoreHeader.encode(
        {
          magic: isPv ? XEN_CORE_MAGIC_PV : XEN_CORE_MAGIC_HVM,
          vcpus: guest.vcpus.length,
          pages,
          pageSize: PAGE,
        },
        "little",
      ),
      "little",
    ),
    encodeNote(
      "Xen",
      XEN_NOTE.version,
      xenCoreVersion.encode(
        {
          major: Number(version?.[1] ?? 0),
          minor: Number(version?.[2] ?? 0),
          extra: version?.[3] ?? "",
          compiler: "",
          compileBy: "",
          compileDomain: "",
          compileDate: "",
          capabilities: "xen-3.0-x86_64 hvm-3.0-x86_64",
          changeSet: "",
          virtStart: 0xffff_8000_0000_0000n,
          pageSize: PAGE,
        },
        "little",
      ),
      "little",
    ),
    encodeNote("Xen", XEN_NOTE.format, xenCoreFormat.encode({ version: FORMAT_VERSION }, "little"), "little"),
  ];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A vCPU's context: the source's own where it kept one, else made from its registers. */
function encodeContext(vcpu: Vcpu, isPv: boolean): Uint8Array {
  const kept = vcpu.raw?.context;
  if (kept?.length === pvContext64.size) return kept;
  const registers: X86Registers | undefined = vcpu.registers?.kind === "x86" ? vcpu.registers : undefined;
  if (registers === undefined) return new Uint8Array(pvContext64.size);
  const { general, segments, control, debug, msrs } = registers;
  const selector = (name: keyof typeof segments): number => segments[name]?.selector ?? 0;
  const { cr0 = 0n, cr2 = 0n, cr3 = 0n, cr4 = 0n } = control;
  const { dr0 = 0n, dr1 = 0n, dr2 = 0n, dr3 = 0n, dr6 = 0n, dr7 = 0n } = debug;
  const gsBase = segments.gs?.base ?? msrs.gs_base ?? 0n;
  const otherGsBase = msrs.kernel_gs_base ?? 0n;
  // of the two bases the one in use is the kernel's where the kernel runs
  const inKernel = isPv || (selector("cs") & 3) === 0;
  return pvContext64.encode(
    {
      ...EMPTY_CONTEXT,
      fpu: vcpu.raw?.fpu ?? NONE,
      flags: CONTEXT_ONLINE | (isPv ? BigInt(PV_IN_KERNEL) : 0n),
      general: PV_GENERAL_64.map((name) => general[name]),
      rip: general.rip,
      rflags: general.rflags,
      rsp: general.rsp,
      cs: selector("cs"),
      ss: selector("ss"),
      ds: selector("ds"),
      es: selector("es"),
      fs: selector("fs"),
      gs: selector("gs"),
      ldtBase: segments.ldt?.base ?? 0n,
      control: [cr0, 0n, cr2, cr3, cr4, 0n, 0n, 0n],
      debug: [dr0, dr1, dr2, dr3, 0n, 0n, dr6, dr7],
      fsBase: segments.fs?.base ?? msrs.fs_base ?? 0n,
      gsBaseKernel: inKernel ? gsBase : otherGsBase,
      gsBaseUser: inKernel ? otherGsBase : gsBase,
    },
    "little",
  );
}

const NONE = new Uint8Array(0);
const EMPTY_CONTEXT = pvContext64.decode(new Uint8Array(pvContext64.size), "little");

/** Section that says where the core came from: of a name that no reader looks for. */
const PROVENANCE = ".guestscope";

/** Sections in the order of libxc, contents in the order of the file: names come last. */
function layOut(
  isPv: boolean,
  pages: number,
  notes: number,
  vcpus: number,
  shared: number | undefined,
  provenance: number,
): Section[] {
  const count = shared === undefined ? 7 : 8;
  let at = ehdr64.size + count * shdr64.size;
  const place = (name: string, type: number, size: number, align: number, entry: number): Section => {
    if (align > 0) at = roundUp(at, align);
    const section = { name, type, offset: at, size, align, entry };
    at += size;
    return section;
  };
  const rest = [
    place(".note.Xen", SHT.note, notes, 0, 0),
    place(".xen_prstatus", SHT.progbits, vcpus * pvContext64.size, 8, pvContext64.size),
    ...(shared === undefined ? [] : [place(".xen_shared_info", SHT.progbits, shared, 8, shared)]),
    place(".xen_pages", SHT.progbits, pages * PAGE, PAGE, PAGE),
    isPv
      ? place(".xen_p2m", SHT.progbits, pages * 16, 8, 16)
      : place(".xen_pfn", SHT.progbits, pages * 8, 8, 8),
  ];
  const first = { name: "", type: SHT.null, offset: 0, size: 0, align: 0, entry: 0 };
  const all = [".shstrtab", ...rest.map(({ name }) => name), PROVENANCE];
  const namesSize = 1 + all.reduce((sum, name) => sum + name.length + 1, 0);
  const names = place(".shstrtab", SHT.strtab, namesSize, 0, 0);
  return [first, names, ...rest, place(PROVENANCE, SHT.progbits, provenance, 4, 0)];
}

function sectionNames(sections: readonly Section[]): Uint8Array {
  return latin1Bytes(
    `\0${sections
      .slice(1)
      .map(({ name }) => `${name}\0`)
      .join("")}`,
  );
}

function headers(sections: readonly Section[]): Uint8Array {
  const bytes = new Uint8Array(ehdr64.size + sections.length * shdr64.size);
  const view = viewOf(bytes);
  const ident = new Uint8Array(16);
  ident.set([...ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, 1, 0, ABI_VERSION]);
  ehdr64.write(
    view,
    0,
    {
      e_ident: ident,
      e_type: ET_CORE,
      e_machine: EM_X86_64,
      e_version: 1,
      e_entry: 0n,
      e_phoff: 0,
      e_shoff: ehdr64.size,
      e_flags: 0,
      e_ehsize: ehdr64.size,
      e_phentsize: 56,
      e_phnum: 0,
      e_shentsize: shdr64.size,
      e_shnum: sections.length,
      e_shstrndx: 1,
    },
    "little",
  );
  let nameAt = 1;
  for (const [i, { name, type, offset, size, align, entry }] of sections.entries()) {
    shdr64.write(
      view,
      ehdr64.size + i * shdr64.size,
      {
        sh_name: i === 0 ? 0 : nameAt,
        sh_type: type,
        sh_flags: 0n,
        sh_addr: 0n,
        sh_offset: offset,
        sh_size: size,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: BigInt(align),
        sh_entsize: entry,
      },
      "little",
    );
    if (i > 0) nameAt += name.length + 1;
  }
  return bytes;
}

/** The page tables of a saved stream hold the guest's own frames. */
const same = (frame: number): number => frame;

/** @param machineOf of a PV guest: each frame is followed by its machine frame */
async function writeFrames(
  writer: SparseWriter,
  offset: number,
  runs: readonly AddressRange[],
  machineOf: ((frame: number) => number | undefined) | undefined,
): Promise<void> {
  const entry = machineOf === undefined ? 8 : 16;
  const window = new Uint8Array(WINDOW * entry);
  const view = viewOf(window);
  let at = offset;
  let filled = 0;
  const flush = async (): Promise<void> => {
    await writer.put(at, window.subarray(0, filled));
    at += filled;
    filled = 0;
  };
  for (const { start, end } of runs) {
    for (let frame = start / PAGE; frame < end / PAGE; frame += 1) {
      writeU64(view, filled, frame, true);
      if (machineOf !== undefined) writeU64(view, filled + 8, machineOf(frame) ?? frame, true);
      filled += entry;
      if (filled === window.length) await flush();
    }
  }
  await flush();
}
