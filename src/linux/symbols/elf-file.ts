import type { ByteSink } from "../../io/byte-sink.js";
import { latin1Bytes } from "../../binary/layout.js";
import { ehdr64, ELF_MAGIC, phdr64, shdr64 } from "../../elf/layout.js";

export const SHT_PROGBITS = 1;
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const SHF_WRITE = 1n;
export const SHF_ALLOC = 2n;
export const SHF_EXECINSTR = 4n;
export const SHF_MERGE_STRINGS = 0x30n;
const PT_LOAD = 1;
const PT_NOTE = 4;
const ET_EXEC = 2;
const PAGE = 4096;
/** Bytes of addresses that one segment without contents spans: per-CPU data is far from the image. */
const WIDEST_ROW = 1n << 28n;

/** Reads contents when they are written: pieces, each good until the next is asked for. */
export type Contents = () => AsyncIterable<Uint8Array>;

/** A section on its way into the file. */
export interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly size: number;
  readonly align: number;
  readonly contents: readonly Uint8Array[] | Contents;
  /** Not to be the first or last segment: drgn takes a vmlinux to reach from that to this. */
  readonly inside?: true;
  readonly link?: number;
  readonly info?: number;
  readonly entrySize?: number;
}

/** A section that is not loaded. */
export function plain(name: string, bytes: Uint8Array): Section {
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

/** An offset at or after `at` that is `address` modulo `unit`. */
function aligned(at: number, unit: number, address = 0n): number {
  const wanted = Number(address & BigInt(unit - 1));
  return at + ((wanted - (at % unit) + unit) % unit);
}

const ZEROS = new Uint8Array(PAGE);

/** A program header. */
interface Segment {
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly align: number;
  readonly place: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

/** Writes an executable of 64 bits, little endian, in one go; returns its bytes. */
export async function writeElf(
  machine: number,
  sections: readonly Section[],
  sink: ByteSink,
): Promise<number> {
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
    for await (const piece of typeof contents === "function" ? contents() : contents) await sink.write(piece);
    written += size;
  }
  await padTo(table);
  const headers = sectionHeaders(all, places, offsets);
  await sink.write(headers);
  return table + headers.length;
}

/** Sections that one segment holds: one, or several without contents in a row. */
interface Row {
  /** Numbers of its sections, ascending. */
  readonly numbers: readonly number[];
  readonly first: Section;
  readonly isEmpty: boolean;
}

function rowsOf(sections: readonly Section[]): Row[] {
  const rows: (Row & { readonly numbers: number[] })[] = [];
  for (const [number, section] of sections.entries()) {
    const { flags, type, address, size } = section;
    if ((flags & SHF_ALLOC) === 0n || size === 0) continue;
    const isEmpty = type === SHT_NOBITS;
    const last = rows.at(-1);
    if (isEmpty && last?.isEmpty === true && address - last.first.address < WIDEST_ROW)
      last.numbers.push(number);
    else rows.push({ numbers: [number], first: section, isEmpty });
  }
  return rows;
}

/**
 * Offsets of sections and the segments that hold them. Sections without contents have offsets beyond the end of the
 * file, where no other section's range can be taken for theirs.
 */
function layOut(sections: readonly Section[]): {
  readonly places: readonly number[];
  readonly segments: readonly Segment[];
  readonly end: number;
} {
  const rows = rowsOf(sections);
  const notes = sections.flatMap((section, number) =>
    section.type === SHT_NOTE ? [{ section, number }] : [],
  );
  let end = ehdr64.size + (rows.length + notes.length) * phdr64.size;
  const places = sections.map(({ flags, type, address, size, align }) => {
    if (type === SHT_NOBITS) return 0;
    const isLoaded = (flags & SHF_ALLOC) !== 0n;
    const place = isLoaded ? aligned(end, PAGE, address) : aligned(end, Math.max(1, align));
    end = place + size;
    return place;
  });
  let beyond = end + PAGE * (sections.length + 2);
  const loads: Segment[] = [];
  const inside: Segment[] = [];
  for (const { numbers, first, isEmpty } of rows) {
    const { flags, address } = first;
    const place = isEmpty ? aligned(beyond, PAGE, address) : (places[numbers[0] ?? 0] ?? 0);
    let memorySize = 0;
    for (const number of numbers) {
      const section = sections[number] ?? first;
      const distance = Number(section.address - address);
      places[number] = place + distance;
      memorySize = distance + section.size;
    }
    if (isEmpty) beyond = place + memorySize;
    const fileSize = isEmpty ? 0 : memorySize;
    const load: Segment = { type: PT_LOAD, flags, address, align: PAGE, place, fileSize, memorySize };
    (first.inside === true ? inside : loads).push(load);
  }
  const noted = notes.map(({ section: { flags, address, align, size }, number }): Segment => {
    const place = places[number] ?? 0;
    return { type: PT_NOTE, flags, address, align, place, fileSize: size, memorySize: size };
  });
  const [first, ...others] = loads;
  const segments = [...(first === undefined ? [] : [first]), ...inside, ...others, ...noted];
  return { places, segments, end };
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
