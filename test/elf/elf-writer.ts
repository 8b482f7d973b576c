import { elfLayouts, type ElfBits, ELF_MAGIC, PN_XNUM } from "../../src/elf/layout.js";
import type { ByteOrder } from "../../src/binary/layout.js";

/** An ELF file described by values. */
export interface ElfDescription {
  readonly bits?: ElfBits;
  readonly order?: ByteOrder;
  readonly type?: number;
  readonly machine?: number;
  readonly entry?: bigint;
  readonly segments?: readonly SegmentDescription[];
  readonly sections?: readonly SectionDescription[];
}

export interface SegmentDescription {
  readonly type: number;
  readonly vaddr?: bigint;
  readonly data?: Uint8Array;
  /** Default: the length of the data. */
  readonly memsz?: number;
  /** Lies about p_filesz. */
  readonly filesz?: number;
  readonly align?: bigint;
}

export interface SectionDescription {
  readonly name: string;
  readonly type?: number;
  readonly flags?: bigint;
  readonly data: Uint8Array;
  readonly link?: number;
  readonly entsize?: number;
}

/** Header, program headers, contents of segments and sections, section headers. */
export function buildElf(description: ElfDescription): Uint8Array {
  const { bits = 64, order = "little", segments = [], sections = [] } = description;
  const { ehdr, phdr, shdr } = elfLayouts(bits);
  const many = segments.length >= PN_XNUM;
  const withSections = sections.length > 0 || many;
  const names = ["", ...sections.map(({ name }) => name), ".shstrtab"];
  const nameOffsets: number[] = [];
  let nameTable = "";
  for (const name of names) {
    nameOffsets.push(nameTable.length);
    nameTable += `${name}\0`;
  }
  const strings = new TextEncoder().encode(nameTable);
  let at = ehdr.size + phdr.size * segments.length;
  const place = (data: Uint8Array | undefined): number => {
    const offset = at;
    at += data?.length ?? 0;
    return offset;
  };
  const segmentOffsets = segments.map(({ data }) => place(data));
  const sectionOffsets = sections.map(({ data }) => place(data));
  const stringsOffset = place(withSections ? strings : undefined);
  const shoff = withSections ? at : 0;
  const shnum = withSections ? names.length : 0;
  const out = new Uint8Array(at + shnum * shdr.size);
  const view = new DataView(out.buffer);
  const ident = new Uint8Array(16);
  ident.set(ELF_MAGIC);
  ident.set([bits === 64 ? 2 : 1, order === "little" ? 1 : 2, 1], 4);
  ehdr.write(
    view,
    0,
    {
      e_ident: ident,
      e_type: description.type ?? 2,
      e_machine: description.machine ?? 62,
      e_version: 1,
      e_entry: description.entry ?? 0n,
      e_phoff: segments.length === 0 ? 0 : ehdr.size,
      e_shoff: shoff,
      e_flags: 0,
      e_ehsize: ehdr.size,
      e_phentsize: phdr.size,
      e_phnum: many ? PN_XNUM : segments.length,
      e_shentsize: shdr.size,
      e_shnum: shnum,
      e_shstrndx: withSections ? shnum - 1 : 0,
    },
    order,
  );
  for (const [i, segment] of segments.entries()) {
    const length = segment.data?.length ?? 0;
    phdr.write(
      view,
      ehdr.size + i * phdr.size,
      {
        p_type: segment.type,
        p_flags: 6,
        p_offset: segmentOffsets[i] ?? 0,
        p_vaddr: segment.vaddr ?? 0n,
        p_paddr: 0n,
        p_filesz: segment.filesz ?? length,
        p_memsz: segment.memsz ?? length,
        p_align: segment.align ?? 0n,
      },
      order,
    );
    if (segment.data !== undefined) out.set(segment.data, segmentOffsets[i]);
  }
  const header = (index: number, fields: Partial<Parameters<typeof shdr.write>[2]>): void =>
    shdr.write(
      view,
      shoff + index * shdr.size,
      {
        sh_name: nameOffsets[index] ?? 0,
        sh_type: 0,
        sh_flags: 0n,
        sh_addr: 0n,
        sh_offset: 0,
        sh_size: 0,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 1n,
        sh_entsize: 0,
        ...fields,
      },
      order,
    );
  if (!withSections) return out;
  header(0, { sh_info: many ? segments.length : 0 });
  for (const [i, section] of sections.entries()) {
    out.set(section.data, sectionOffsets[i]);
    header(i + 1, {
      sh_type: section.type ?? 1,
      sh_flags: section.flags ?? 0n,
      sh_offset: sectionOffsets[i] ?? 0,
      sh_size: section.data.length,
      sh_link: section.link ?? 0,
      sh_entsize: section.entsize ?? 0,
    });
  }
  out.set(strings, stringsOffset);
  header(shnum - 1, { sh_type: 3, sh_offset: stringsOffset, sh_size: strings.length });
  return out;
}
