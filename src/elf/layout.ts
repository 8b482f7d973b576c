import { type Field, layout, bytes, type RecordOf, u8, u16, u32, u64, u64big } from "../binary/layout.js";

const GABI = "System V ABI, generic part (gABI)";

/** A 32-bit address, offset or length in the record type of the 64-bit structure. */
const u32big = (meaning: string): Field<bigint> => ({
  size: 4,
  type: "u32",
  meaning,
  read: (view, at, little) => BigInt(view.getUint32(at, little)),
  write: (view, at, value, little) => view.setUint32(at, Number(BigInt.asUintN(32, value)), little),
});

/** e_ident: sixteen bytes before anything that has a byte order. */
export const elfIdent = layout("e_ident", `${GABI}, ELF Header, ELF Identification`, {
  magic: bytes(4, "7f 45 4c 46"),
  class: u8("1: 32-bit, 2: 64-bit"),
  data: u8("1: little endian, 2: big endian"),
  version: u8("1"),
  osabi: u8("0: System V, 3: GNU/Linux"),
  abiversion: u8("0"),
  padding: bytes(7, "zeros"),
});

export const ehdr64 = layout("Elf64_Ehdr", `${GABI}, ELF Header`, {
  e_ident: bytes(16, "class, byte order, version"),
  e_type: u16("1 relocatable, 2 executable, 3 shared, 4 core"),
  e_machine: u16("architecture"),
  e_version: u32("1"),
  e_entry: u64big("address of the first instruction"),
  e_phoff: u64("offset of the program headers"),
  e_shoff: u64("offset of the section headers"),
  e_flags: u32("flags of the architecture"),
  e_ehsize: u16("bytes of this header"),
  e_phentsize: u16("bytes of a program header"),
  e_phnum: u16("program headers; 0xffff: number in sh_info of section 0"),
  e_shentsize: u16("bytes of a section header"),
  e_shnum: u16("section headers; 0 with e_shoff set: number in sh_size of section 0"),
  e_shstrndx: u16("section that holds section names; 0xffff: in sh_link of section 0"),
});

export const ehdr32: typeof ehdr64 = layout("Elf32_Ehdr", `${GABI}, ELF Header`, {
  e_ident: bytes(16, "class, byte order, version"),
  e_type: u16("1 relocatable, 2 executable, 3 shared, 4 core"),
  e_machine: u16("architecture"),
  e_version: u32("1"),
  e_entry: u32big("address of the first instruction"),
  e_phoff: u32("offset of the program headers"),
  e_shoff: u32("offset of the section headers"),
  e_flags: u32("flags of the architecture"),
  e_ehsize: u16("bytes of this header"),
  e_phentsize: u16("bytes of a program header"),
  e_phnum: u16("program headers; 0xffff: number in sh_info of section 0"),
  e_shentsize: u16("bytes of a section header"),
  e_shnum: u16("section headers; 0 with e_shoff set: number in sh_size of section 0"),
  e_shstrndx: u16("section that holds section names; 0xffff: in sh_link of section 0"),
});

export const phdr64 = layout("Elf64_Phdr", `${GABI}, Program Header`, {
  p_type: u32("1 PT_LOAD, 4 PT_NOTE, 6 PT_PHDR"),
  p_flags: u32("1 execute, 2 write, 4 read"),
  p_offset: u64("offset of the contents"),
  p_vaddr: u64big("virtual address"),
  p_paddr: u64big("physical address"),
  p_filesz: u64("bytes in the file"),
  p_memsz: u64("bytes in memory"),
  p_align: u64big("alignment"),
});

export const phdr32: typeof phdr64 = layout("Elf32_Phdr", `${GABI}, Program Header`, {
  p_type: u32("1 PT_LOAD, 4 PT_NOTE, 6 PT_PHDR"),
  p_offset: u32("offset of the contents"),
  p_vaddr: u32big("virtual address"),
  p_paddr: u32big("physical address"),
  p_filesz: u32("bytes in the file"),
  p_memsz: u32("bytes in memory"),
  p_flags: u32("1 execute, 2 write, 4 read"),
  p_align: u32big("alignment"),
});

export const shdr64 = layout("Elf64_Shdr", `${GABI}, Sections`, {
  sh_name: u32("offset of the name in the section name table"),
  sh_type: u32("kind of contents"),
  sh_flags: u64big("0x800: compressed"),
  sh_addr: u64big("address in memory"),
  sh_offset: u64("offset of the contents"),
  sh_size: u64("bytes"),
  sh_link: u32("another section, by kind"),
  sh_info: u32("more, by kind"),
  sh_addralign: u64big("alignment"),
  sh_entsize: u64("bytes of an entry of a table"),
});

export const shdr32: typeof shdr64 = layout("Elf32_Shdr", `${GABI}, Sections`, {
  sh_name: u32("offset of the name in the section name table"),
  sh_type: u32("kind of contents"),
  sh_flags: u32big("0x800: compressed"),
  sh_addr: u32big("address in memory"),
  sh_offset: u32("offset of the contents"),
  sh_size: u32("bytes"),
  sh_link: u32("another section, by kind"),
  sh_info: u32("more, by kind"),
  sh_addralign: u32big("alignment"),
  sh_entsize: u32("bytes of an entry of a table"),
});

export const sym64 = layout("Elf64_Sym", `${GABI}, Symbol Table`, {
  st_name: u32("offset of the name in the string table"),
  st_info: u8("low 4 bits: type, high 4 bits: binding"),
  st_other: u8("visibility"),
  st_shndx: u16("section it is defined in; 0: undefined"),
  st_value: u64big("address"),
  st_size: u64("bytes"),
});

export const sym32: typeof sym64 = layout("Elf32_Sym", `${GABI}, Symbol Table`, {
  st_name: u32("offset of the name in the string table"),
  st_value: u32big("address"),
  st_size: u32("bytes"),
  st_info: u8("low 4 bits: type, high 4 bits: binding"),
  st_other: u8("visibility"),
  st_shndx: u16("section it is defined in; 0: undefined"),
});

/** Header of a note: the name and the descriptor follow, each padded to 4 bytes (8 where p_align says so). */
export const nhdr = layout("Elf_Nhdr", `${GABI}, Note Section`, {
  n_namesz: u32("bytes of the name with its NUL"),
  n_descsz: u32("bytes of the descriptor"),
  n_type: u32("meaning, by name"),
});

/** In front of the contents of a section with SHF_COMPRESSED. */
export const chdr64 = layout("Elf64_Chdr", `${GABI}, Section Compression`, {
  ch_type: u32("1 zlib, 2 zstd"),
  ch_reserved: u32("0"),
  ch_size: u64("bytes when unpacked"),
  ch_addralign: u64big("alignment when unpacked"),
});

export const chdr32 = layout("Elf32_Chdr", `${GABI}, Section Compression`, {
  ch_type: u32("1 zlib, 2 zstd"),
  ch_size: u32("bytes when unpacked"),
  ch_addralign: u32big("alignment when unpacked"),
});

/** An ELF header of either class. */
export type Ehdr = RecordOf<typeof ehdr64>;
/** A program header of either class. */
export type Phdr = RecordOf<typeof phdr64>;
/** A section header of either class. */
export type Shdr = RecordOf<typeof shdr64>;
/** A symbol of either class. */
export type Sym = RecordOf<typeof sym64>;

/** Width of addresses. */
export type ElfBits = 32 | 64;

/** The structures of one class; both have the same record types. */
export function elfLayouts(bits: ElfBits): {
  readonly ehdr: typeof ehdr64;
  readonly phdr: typeof phdr64;
  readonly shdr: typeof shdr64;
  readonly sym: typeof sym64;
} {
  return bits === 64
    ? { ehdr: ehdr64, phdr: phdr64, shdr: shdr64, sym: sym64 }
    : { ehdr: ehdr32, phdr: phdr32, shdr: shdr32, sym: sym32 };
}

export const ELF_MAGIC: Uint8Array = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46);

export const ELFCLASS32 = 1;
export const ELFCLASS64 = 2;
export const ELFDATA2LSB = 1;
export const ELFDATA2MSB = 2;
export const EV_CURRENT = 1;

export const ET_REL = 1;
export const ET_EXEC = 2;
export const ET_DYN = 3;
export const ET_CORE = 4;

export const EM_386 = 3;
export const EM_PPC64 = 21;
export const EM_S390 = 22;
export const EM_ARM = 40;
export const EM_X86_64 = 62;
export const EM_AARCH64 = 183;

/** e_phnum when the true number is in sh_info of section 0. */
export const PN_XNUM = 0xffff;
/** e_shstrndx when the true index is in sh_link of section 0. */
export const SHN_XINDEX = 0xffff;
export const SHN_UNDEF = 0;

export const PT_LOAD = 1;
export const PT_DYNAMIC = 2;
export const PT_INTERP = 3;
export const PT_NOTE = 4;
export const PT_PHDR = 6;

export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;

export const SHT_NULL = 0;
export const SHT_PROGBITS = 1;
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const SHT_DYNSYM = 11;

export const SHF_COMPRESSED = 0x800n;
export const ELFCOMPRESS_ZLIB = 1;
export const ELFCOMPRESS_ZSTD = 2;

export const STT_OBJECT = 1;
export const STT_FUNC = 2;
export const STB_LOCAL = 0;
export const STB_GLOBAL = 1;

/** Note types of the name `CORE`. */
export const NT_PRSTATUS = 1;
export const NT_PRPSINFO = 3;
export const NT_AUXV = 6;
export const NT_SIGINFO = 0x53494749;
export const NT_FILE = 0x46494c45;
/** Note type of the name `GNU`: descriptor is the build id. */
export const NT_GNU_BUILD_ID = 3;

export const AT_NULL = 0;
export const AT_PHDR = 3;
export const AT_PHENT = 4;
export const AT_PHNUM = 5;
export const AT_PAGESZ = 6;
export const AT_BASE = 7;
export const AT_ENTRY = 9;
export const AT_EXECFN = 31;
