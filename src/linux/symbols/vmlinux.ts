import type { ByteSink } from "../../io/byte-sink.js";
import { latin1Bytes } from "../../binary/layout.js";
import { ehdr64, ELF_MAGIC, phdr64, shdr64 } from "../../elf/layout.js";
import type { Kernel } from "../kernel.js";
import { LINUX_RULES } from "../rules.js";
import { elfSymbols, functionCode } from "./elf-symbols.js";
import { type ImageSection, readImage } from "./image-sections.js";
import { kernelBtf } from "./kernel-btf.js";
import { kernelDwarf } from "./kernel-dwarf.js";

/** What was written. */
export interface VmlinuxSummary {
  readonly symbols: number;
  readonly types: number;
  readonly variables: number;
  readonly bytes: number;
}

const SHT_PROGBITS = 1;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_NOTE = 7;
const SHT_NOBITS = 8;
const SHF_WRITE = 1n;
const SHF_ALLOC = 2n;
const SHF_EXECINSTR = 4n;
const SHF_MERGE_STRINGS = 0x30n;
const PT_LOAD = 1;
const PT_NOTE = 4;
const ET_EXEC = 2;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
const PAGE = 4096;
const NT_GNU_BUILD_ID = 3;

/** A section on its way into the file. */
interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly size: number;
  readonly align: number;
  readonly contents: readonly Uint8Array[];
  /** Not to be the first or last segment: drgn takes a vmlinux to reach from that to this. */
  readonly inside?: true;
  readonly link?: number;
  readonly info?: number;
  readonly entrySize?: number;
}

/**
 * Writes an ELF file that stands in for the kernel's own vmlinux: the image's sections at their link addresses with
 * their contents where the guest's memory has them, symbols, BTF, debug information made from BTF, and the build id. What
 * memory lacks has no contents in the file (SHT_NOBITS) and is noted.
 *
 * @throws AbsentError, FormatError that says why symbols or types are missing.
 */
export async function writeVmlinux(kernel: Kernel, sink: ByteSink): Promise<VmlinuxSummary> {
  const btf = kernelBtf(kernel);
  kernel.needSymbols();
  const image = await readImage(kernel);
  for (const [name, bytes] of image.missing)
    kernel.note(
      LINUX_RULES.memory,
      `${bytes} bytes of the kernel's ${name} can't be read: the symbol file has no contents there`,
    );
  const alloc = image.sections.map(allocated);
  const symbols = elfSymbols(kernel, image.sections);
  const dwarf = kernelDwarf(kernel, btf, functionCode(kernel, image.sections));
  // drgn knows a vmlinux by this name among sections with contents, of which this kernel has given away the memory
  const more: Section[] = [plain(".init.text", new Uint8Array(0))];
  if (!alloc.some(({ name }) => name === ".BTF")) more.push(plain(".BTF", btf.bytes));
  const hasNotes = alloc.some(({ name, type }) => name === ".notes" && type === SHT_NOTE);
  const note = hasNotes ? undefined : buildIdNote(kernel.info.get("BUILD-ID"));
  if (note !== undefined) more.push({ ...plain(".note.gnu.build-id", note), type: SHT_NOTE, align: 4 });
  more.push(plain(".debug_info", dwarf.info), plain(".debug_abbrev", dwarf.abbrev), {
    ...plain(".debug_str", dwarf.str),
    flags: SHF_MERGE_STRINGS,
    entrySize: 1,
  });
  const table = alloc.length + more.length + 1;
  more.push(
    {
      ...plain(".symtab", symbols.entries),
      type: SHT_SYMTAB,
      align: 8,
      link: table + 1,
      info: symbols.locals,
      entrySize: 24,
    },
    { ...plain(".strtab", symbols.strings), type: SHT_STRTAB },
  );
  const bytes = await writeElf(
    kernel.arch.name === "aarch64" ? EM_AARCH64 : EM_X86_64,
    [...alloc, ...more],
    sink,
  );
  return { symbols: symbols.count, types: btf.endId - 1, variables: dwarf.variables, bytes };
}

function allocated({ name, use, start, size, align, contents, perCpu }: ImageSection): Section {
  // without contents there is no code to execute
  const isCode = use === "x" && contents !== undefined;
  const flags = SHF_ALLOC | (isCode ? SHF_EXECINSTR : use === "w" ? SHF_WRITE : 0n);
  const type = contents === undefined ? SHT_NOBITS : name === ".notes" ? SHT_NOTE : SHT_PROGBITS;
  return {
    name,
    type,
    flags,
    address: start,
    size,
    align,
    contents: contents ?? [],
    ...(perCpu === true ? { inside: true as const } : {}),
  };
}

function plain(name: string, bytes: Uint8Array): Section {
  return {
    name,
    type: SHT_PROGBITS,
    flags: 0n,
    address: 0n,
    size: bytes.length,
    align: 1,
    contents: [bytes],
  };
}

/** The note that names the kernel's build, as VMCOREINFO gives it. */
function buildIdNote(id: string | undefined): Uint8Array | undefined {
  if (id === undefined || !/^([0-9a-f]{2}){1,64}$/.test(id)) return undefined;
  const value = Uint8Array.from(id.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const padded = Math.ceil(value.length / 4) * 4;
  const note = new Uint8Array(16 + padded);
  const view = new DataView(note.buffer);
  view.setUint32(0, 4, true);
  view.setUint32(4, value.length, true);
  view.setUint32(8, NT_GNU_BUILD_ID, true);
  note.set(latin1Bytes("GNU\0"), 12);
  note.set(value, 16);
  return note;
}

/** An offset at or after `at` that is `address` modulo `unit`. */
function aligned(at: number, unit: number, address = 0n): number {
  const wanted = Number(address & BigInt(unit - 1));
  return at + ((wanted - (at % unit) + unit) % unit);
}

const ZEROS = new Uint8Array(PAGE);

/** A program header, and the sections that it holds. */
interface Segment {
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly align: number;
  readonly place: number;
  readonly fileSize: number;
  memorySize: number;
}

/** Writes the file in one go; returns its bytes. */
async function writeElf(machine: number, sections: readonly Section[], sink: ByteSink): Promise<number> {
  const { strings, offsets } = nameTable(["", ...sections.map(({ name }) => name), ".shstrtab"]);
  const all: readonly Section[] = [...sections, { ...plain(".shstrtab", strings), type: SHT_STRTAB }];
  const { places, segments, end } = layOut(all);
  const table = aligned(end, 8);
  await sink.write(header(machine, segments.length, table, all.length + 1));
  await sink.write(programHeaders(segments));
  let written = ehdr64.size + segments.length * phdr64.size;
  const padTo = async (place: number): Promise<void> => {
    if (place > written) await sink.write(ZEROS.subarray(0, place - written));
    written = Math.max(written, place);
  };
  for (const [i, { type, contents, size }] of all.entries()) {
    if (type === SHT_NOBITS) continue;
    await padTo(places[i] ?? 0);
    for (const piece of contents) await sink.write(piece);
    written += size;
  }
  await padTo(table);
  const headers = sectionHeaders(all, places, offsets);
  await sink.write(headers);
  return table + headers.length;
}

/**
 * Offsets of sections and the segments that hold them: one a section, and one for sections without contents in a row. These
 * have offsets beyond the end of the file, where no other section's range can be taken for theirs.
 */
function layOut(sections: readonly Section[]): {
  readonly places: readonly number[];
  readonly segments: readonly Segment[];
  readonly end: number;
} {
  let end = ehdr64.size + countSegments(sections) * phdr64.size;
  const places = sections.map(({ flags, type, address, size, align }) => {
    if (type === SHT_NOBITS) return 0;
    const isLoaded = (flags & SHF_ALLOC) !== 0n;
    const place = isLoaded ? aligned(end, PAGE, address) : aligned(end, Math.max(1, align));
    end = place + size;
    return place;
  });
  const segments: Segment[] = [];
  const inside: Segment[] = [];
  const notes: Segment[] = [];
  let beyond = end + PAGE * (sections.length + 2);
  let row: Segment | undefined;
  for (const [i, { flags, type, address, size, align, inside: isInside }] of sections.entries()) {
    const isEmpty = type === SHT_NOBITS;
    if (row !== undefined && isEmpty) {
      const distance = Number(address - row.address);
      places[i] = row.place + distance;
      row.memorySize = distance + size;
      beyond = row.place + row.memorySize;
      continue;
    }
    if (isEmpty) {
      places[i] = aligned(beyond, PAGE, address);
      beyond = (places[i] ?? 0) + size;
    }
    const shape = { flags, address, place: places[i] ?? 0, fileSize: isEmpty ? 0 : size, memorySize: size };
    const load: Segment = { ...shape, type: PT_LOAD, align: PAGE };
    const isLoaded = isSegment(flags, size);
    if (isLoaded) (isInside === true ? inside : segments).push(load);
    row = isLoaded && isEmpty ? load : undefined;
    if (type === SHT_NOTE) notes.push({ ...shape, type: PT_NOTE, align });
  }
  const [first, ...others] = segments;
  return { places, segments: [...(first === undefined ? [] : [first]), ...inside, ...others, ...notes], end };
}

const isSegment = (flags: bigint, size: number): boolean => (flags & SHF_ALLOC) !== 0n && size > 0;

function countSegments(sections: readonly Section[]): number {
  let count = 0;
  let wasEmpty = false;
  for (const { flags, type, size } of sections) {
    const isLoaded = isSegment(flags, size);
    const isEmpty = isLoaded && type === SHT_NOBITS;
    if (isLoaded && !(isEmpty && wasEmpty)) count += 1;
    if (type === SHT_NOTE) count += 1;
    wasEmpty = isEmpty;
  }
  return count;
}

function header(machine: number, segments: number, table: number, sections: number): Uint8Array {
  const out = new Uint8Array(ehdr64.size);
  const ident = new Uint8Array(16);
  ident.set(ELF_MAGIC);
  ident.set([2, 1, 1], 4);
  ehdr64.write(
    new DataView(out.buffer),
    0,
    {
      e_ident: ident,
      e_type: ET_EXEC,
      e_machine: machine,
      e_version: 1,
      e_entry: 0n,
      e_phoff: segments === 0 ? 0 : ehdr64.size,
      e_shoff: table,
      e_flags: 0,
      e_ehsize: ehdr64.size,
      e_phentsize: phdr64.size,
      e_phnum: segments,
      e_shentsize: shdr64.size,
      e_shnum: sections,
      e_shstrndx: sections - 1,
    },
    "little",
  );
  return out;
}

function programHeaders(segments: readonly Segment[]): Uint8Array {
  const out = new Uint8Array(segments.length * phdr64.size);
  const view = new DataView(out.buffer);
  for (const [i, { type, flags, address, align, place, fileSize, memorySize }] of segments.entries())
    phdr64.write(
      view,
      i * phdr64.size,
      {
        p_type: type,
        p_flags:
          fileSize === 0
            ? 4
            : 4 | ((flags & SHF_EXECINSTR) === 0n ? 0 : 1) | ((flags & SHF_WRITE) === 0n ? 0 : 2),
        p_offset: place,
        p_vaddr: address,
        p_paddr: address,
        p_filesz: fileSize,
        p_memsz: memorySize,
        p_align: BigInt(align),
      },
      "little",
    );
  return out;
}

function sectionHeaders(
  sections: readonly Section[],
  places: readonly number[],
  names: readonly number[],
): Uint8Array {
  const out = new Uint8Array((sections.length + 1) * shdr64.size);
  const view = new DataView(out.buffer);
  for (const [i, section] of sections.entries())
    shdr64.write(
      view,
      (i + 1) * shdr64.size,
      {
        sh_name: names[i + 1] ?? 0,
        sh_type: section.type,
        sh_flags: section.flags,
        sh_addr: section.address,
        sh_offset: places[i] ?? 0,
        sh_size: section.size,
        sh_link: section.link ?? 0,
        sh_info: section.info ?? 0,
        sh_addralign: BigInt(section.align),
        sh_entsize: section.entrySize ?? 0,
      },
      "little",
    );
  return out;
}

function nameTable(names: readonly string[]): { readonly strings: Uint8Array; readonly offsets: number[] } {
  let text = "";
  const known = new Map<string, number>();
  const offsets = names.map((name) => {
    const at = known.get(name) ?? text.length;
    if (!known.has(name)) text += `${name}\0`;
    known.set(name, at);
    return at;
  });
  return { strings: latin1Bytes(text), offsets };
}
