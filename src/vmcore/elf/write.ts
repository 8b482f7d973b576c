import { type ByteOrder, viewOf } from "../../binary/layout.js";
import {
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  type ElfBits,
  elfIdent,
  elfLayouts,
  ET_CORE,
  EV_CURRENT,
  PF_R,
  PF_W,
  PF_X,
  type Phdr,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
} from "../../elf/layout.js";
import { firstIndex } from "../../binary/search.js";
import { encodeNote } from "../../elf/notes.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import type { GuestImage } from "../../guest/image.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import { pseudoPhysical } from "../../guest/paging/pseudo-physical.js";
import type { Mapping } from "../../guest/paging/walk.js";
import { type ByteSink, isRandomSink } from "../../io/byte-sink.js";
import { UsageError } from "../../findings/errors.js";
import { type PlacedRun, SparseWriter, writeContents } from "../contents.js";
import { EMPTY_NOTE, guestNotes, provenanceNote, type RawNote } from "../notes.js";
import { selectMemory } from "../../guest/selection.js";
import type { AddressRange, VmcoreWriter, WriteOptions, WriteReport } from "../../guest/output-format.js";
import { roundUp } from "../../io/alignment.js";

const PAGE = 4096;
const FOUR_GIB = 2 ** 32;
/** The head takes whole pieces of this, so that what is found in memory while it is copied fits in nearly always. */
const HEAD_UNIT = 64 << 10;

/** What the headers of an ELF dump are made from. */
export interface ElfPlan {
  readonly arch: Architecture;
  readonly bits: ElfBits;
  readonly notes: readonly RawNote[];
  /** Physical memory, ascending. */
  readonly runs: readonly AddressRange[];
  /** Further PT_LOADs over the same contents. */
  readonly aliases: readonly Mapping[];
  /** p_vaddr of guest-physical address 0, where the kernel maps all memory in a row; default 0. */
  readonly directMap?: bigint | undefined;
  /** Bytes that contents are aligned to; 1 packs everything. */
  readonly alignment: number;
  /** Bytes that the first contents are aligned to, if more. */
  readonly headUnit?: number;
  /** p_flags of the PT_LOADs. */
  readonly flags: number;
}

/** Headers ready to be written and the place of each run's contents. */
export interface ElfLayout {
  /** ELF header, section 0 if needed, program headers, notes. */
  readonly head: Uint8Array;
  readonly runs: readonly PlacedRun[];
  /** Bytes of the whole file. */
  readonly size: number;
}

/** Lays an ELF dump out: header, section 0 for PN_XNUM, program headers, notes, contents. */
export function layOutElf(plan: ElfPlan): ElfLayout {
  const { ehdr, phdr, shdr } = elfLayouts(plan.bits);
  const { order } = plan.arch;
  const notes = concat(plan.notes.map((note) => encodeNote(note.name, note.type, note.descriptor, order)));
  // the number of segments does not depend on where contents are
  const count = 1 + loadSegments(plan, placeRuns(plan, 0)).length;
  const extended = count >= PN_XNUM;
  const tableAt = ehdr.size + (extended ? shdr.size : 0);
  const notesAt = tableAt + count * phdr.size;
  const runs = placeRuns(plan, notesAt + notes.length);
  const last = runs.at(-1);
  const size = last === undefined ? notesAt + notes.length : last.offset + (last.end - last.start);
  if (plan.bits === 32 && size > FOUR_GIB)
    throw new UsageError(
      "a 32-bit ELF file can't hold more than 4 GiB: another format can",
      {},
      { option: "range", effect: "writes a part" },
    );

  const head = new Uint8Array(notesAt + notes.length);
  const view = viewOf(head);
  ehdr.write(
    view,
    0,
    {
      e_ident: identOf(plan.bits, order),
      e_type: ET_CORE,
      e_machine: plan.arch.machine,
      e_version: EV_CURRENT,
      e_entry: 0n,
      e_phoff: tableAt,
      e_shoff: extended ? ehdr.size : 0,
      e_flags: 0,
      e_ehsize: ehdr.size,
      e_phentsize: phdr.size,
      e_phnum: extended ? PN_XNUM : count,
      e_shentsize: extended ? shdr.size : 0,
      e_shnum: extended ? 1 : 0,
      e_shstrndx: 0,
    },
    order,
  );
  if (extended) {
    shdr.write(
      view,
      ehdr.size,
      {
        sh_name: 0,
        sh_type: 0,
        sh_flags: 0n,
        sh_addr: 0n,
        sh_offset: 0,
        sh_size: 1,
        sh_link: 0,
        sh_info: count,
        sh_addralign: 0n,
        sh_entsize: 0,
      },
      order,
    );
  }
  const table = [noteSegment(notesAt, notes.length), ...loadSegments(plan, runs)];
  for (const [i, segment] of table.entries()) phdr.write(view, tableAt + i * phdr.size, segment, order);
  head.set(notes, notesAt);
  return { head, runs, size };
}

function identOf(bits: ElfBits, order: ByteOrder): Uint8Array {
  return elfIdent.encode(
    {
      magic: ELF_MAGIC,
      class: bits === 64 ? ELFCLASS64 : ELFCLASS32,
      data: order === "little" ? ELFDATA2LSB : ELFDATA2MSB,
      version: EV_CURRENT,
      osabi: 0,
      abiversion: 0,
      padding: new Uint8Array(0),
    },
    order,
  );
}

function placeRuns(plan: ElfPlan, from: number): PlacedRun[] {
  const { alignment, headUnit = 1 } = plan;
  let at = roundUp(from, headUnit);
  return plan.runs.map(({ start, end }) => {
    // congruent to the address, as loaders of ELF files ask
    const offset = roundUp(at, alignment) + (start % alignment);
    at = offset + (end - start);
    return { start, end, offset };
  });
}

/** As the kernel's own dumps say: by anything else crash takes a page-aligned file for a netdump, without KASLR. */
const P_ALIGN = 0n;

function noteSegment(offset: number, size: number): Phdr {
  return {
    p_type: PT_NOTE,
    p_flags: 0,
    p_offset: offset,
    p_vaddr: 0n,
    p_paddr: 0n,
    p_filesz: size,
    p_memsz: size,
    p_align: P_ALIGN,
  };
}

function loadSegment(
  plan: ElfPlan,
  run: PlacedRun,
  virtual = BigInt.asUintN(64, BigInt(run.start) + (plan.directMap ?? 0n)),
): Phdr {
  const size = run.end - run.start;
  return {
    p_type: PT_LOAD,
    p_flags: plan.flags,
    p_offset: run.offset,
    p_vaddr: virtual,
    p_paddr: BigInt(run.start),
    p_filesz: size,
    p_memsz: size,
    p_align: P_ALIGN,
  };
}

/**
 * The PT_LOADs of memory and of virtual mappings over it, by physical address. Memory is cut where a mapping ends: the
 * last segment that begins at or below an address then holds it, if any does. volatility3 looks at no other.
 */
function loadSegments(plan: ElfPlan, runs: readonly PlacedRun[]): Phdr[] {
  const aliases = placeAliases(plan, runs);
  const cuts = aliases.map(({ p_paddr, p_memsz }) => Number(p_paddr) + p_memsz).sort((a, b) => a - b);
  let next = 0;
  const loads = runs.flatMap((run) => {
    const ends: number[] = [];
    for (; (cuts[next] ?? run.end) < run.end; next += 1)
      if ((cuts[next] ?? 0) > run.start) ends.push(cuts[next] ?? 0);
    ends.push(run.end);
    return ends.map((end, i) => loadSegment(plan, partOf(run, ends[i - 1] ?? run.start, end)));
  });
  return [...loads, ...aliases].sort((a, b) => Number(a.p_paddr) - Number(b.p_paddr));
}

/** The segments of virtual mappings, cut to contents that are in the file. */
function placeAliases(plan: ElfPlan, runs: readonly PlacedRun[]): Phdr[] {
  const segments: Phdr[] = [];
  for (const alias of plan.aliases) {
    const aliasEnd = alias.gpa + alias.length;
    // a guest made to be slow has as many of both as it has pages
    let index = firstIndex(runs.length, (i) => (runs[i]?.end ?? 0) > alias.gpa);
    for (let run = runs[index]; run !== undefined && run.start < aliasEnd; run = runs[index]) {
      const start = Math.max(run.start, alias.gpa);
      const part = partOf(run, start, Math.min(run.end, aliasEnd));
      segments.push(loadSegment(plan, part, alias.va + BigInt(start - alias.gpa)));
      index += 1;
    }
  }
  return segments;
}

const partOf = (run: PlacedRun, start: number, end: number): PlacedRun => ({
  start,
  end,
  offset: run.offset + (start - run.start),
});

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** ELF class of a guest's dump: 32-bit only where all addresses and offsets fit. */
function bitsFor(arch: Architecture, runs: readonly AddressRange[]): ElfBits {
  const bytes = runs.reduce((sum, run) => sum + (run.end - run.start), 0);
  const top = runs.at(-1)?.end ?? 0;
  // headers, notes and alignment take far less than the last 64 MiB
  return arch.bits === 32 && top <= FOUR_GIB && bytes < FOUR_GIB - (64 << 20) ? 32 : 64;
}

/** An ELF core of the guest: what crash, drgn, makedumpfile and readelf open. */
export const elfWriter: VmcoreWriter = {
  id: "elf",
  title: "ELF vmcore",
  needsRandomAccess: false,
  usesKernel: "last",
  async write(source: GuestImage, sink: ByteSink, options: WriteOptions): Promise<WriteReport> {
    const guest = await pseudoPhysical(source);
    const { runs, missing, present, zero, absent } = selectMemory(guest, options.range);
    const { afterMemory } = options;
    let plan = layOutGuest(guest, runs);
    if (afterMemory === undefined || !isRandomSink(sink)) await writeElf(guest.memory, plan, sink, options);
    else {
      const { size } = plan;
      await writeElf(guest.memory, { ...plan, head: new Uint8Array(0) }, sink, options);
      plan = layOutGuest(await afterMemory(), runs);
      if (plan.size === size) await sink.writeAt(0, plan.head);
      else {
        // the head is too long for where memory begins
        await sink.truncate(0);
        await writeElf(guest.memory, plan, sink, options);
      }
    }
    return { present, zero, absent, missing, size: plan.size };
  },
};

/** The dump of a guest whose memory is `runs`. */
function layOutGuest(guest: GuestImage, runs: readonly AddressRange[]): ElfLayout {
  const known = guestNotes(guest);
  const { kernelLayout } = guest.facts;
  return layOutElf({
    arch: guest.arch,
    bits: bitsFor(guest.arch, runs),
    notes: [...(known.length === 0 ? [EMPTY_NOTE] : known), provenanceNote(guest)],
    runs,
    aliases: kernelLayout?.image ?? [],
    directMap: kernelLayout?.directMap,
    alignment: PAGE,
    headUnit: HEAD_UNIT,
    flags: PF_R | PF_W | PF_X,
  });
}

/** Writes a dump that was laid out. */
export async function writeElf(
  memory: PhysicalMemory,
  plan: ElfLayout,
  sink: ByteSink,
  options: Pick<WriteOptions, "progress">,
): Promise<void> {
  const total = plan.runs.reduce((sum, run) => sum + (run.end - run.start), 0);
  const writer = new SparseWriter(sink);
  await writer.put(0, plan.head);
  await writeContents(memory, plan.runs, writer, (done) => options.progress?.(done, total));
  await writer.finish(plan.size);
}
