// over 350 lines: header, tables, sections and links of one file, each read with the help of the others
import { hexText } from "../binary/text.js";
import { appendTo } from "../binary/arrays.js";
import type { Rule } from "../findings/rule.js";
import { ELF_RULES } from "./rules.js";
import { type ByteOrder, latin1, viewOf } from "../binary/layout.js";
import type { ByteSource } from "../io/byte-source.js";
import { readFully } from "../io/byte-source.js";
import { FormatError, type Place, TruncatedError } from "../findings/errors.js";
import {
  type Ehdr,
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
  NT_GNU_BUILD_ID,
  PN_XNUM,
  PT_NOTE,
  SHF_COMPRESSED,
  SHN_XINDEX,
  SHT_DYNSYM,
  SHT_NOBITS,
  SHT_NOTE,
  SHT_SYMTAB,
} from "./layout.js";
import { type ElfNote, readNotes } from "./notes.js";
import type { ElfSection } from "./section.js";
import { HELD_LIMIT, unpackSection } from "./section-data.js";
import { readSegments, type SegmentTable } from "./segments.js";
import { type ElfSymbol, SymbolTable } from "./symbols.js";

const SPEC = "gABI, ELF Header";
/** No program has more mappings or sections than this; a damaged count must not fill memory. */
const SEGMENT_LIMIT = 1 << 22;
const SECTION_LIMIT = 1 << 20;
/** Notes of a core: a few KiB a thread. */
const NOTES_LIMIT = 256 << 20;

/** `.gnu_debuglink`: the name of the separate debug file and the CRC-32 of all its bytes. */
export interface DebugLink {
  readonly name: string;
  readonly crc: number;
}

/** `.gnu_debugaltlink` or `.debug_sup`: the file that dwz moved common debug info to. */
export interface DebugAltLink {
  readonly name: string;
  /** Build id (`.gnu_debugaltlink`) or checksum (`.debug_sup`) of that file in hexadecimal; empty when not given. */
  readonly buildId: string;
}

/** An ELF file of either class and byte order: headers, segments, sections, notes, symbols. */
export class ElfFile {
  readonly source: ByteSource;
  readonly bits: ElfBits;
  readonly order: ByteOrder;
  readonly header: Ehdr;
  readonly segments: SegmentTable;
  #sections: Promise<readonly ElfSection[]> | undefined;
  #symbols: Promise<SymbolTable> | undefined;

  private constructor(
    source: ByteSource,
    bits: ElfBits,
    order: ByteOrder,
    header: Ehdr,
    segments: SegmentTable,
  ) {
    this.source = source;
    this.bits = bits;
    this.order = order;
    this.header = header;
    this.segments = segments;
  }

  get name(): string {
    return this.source.name;
  }

  /** Whether the bytes are the start of an ELF file. */
  static matches(head: Uint8Array): boolean {
    return head.length >= ELF_MAGIC.length && ELF_MAGIC.every((byte, i) => head[i] === byte);
  }

  /**
   * Reads the header and the program headers.
   *
   * @throws FormatError `elf/magic`, `elf/ident`, `elf/header`, `elf/segments`; TruncatedError `elf/truncated`.
   */
  static async open(source: ByteSource): Promise<ElfFile> {
    const head = new Uint8Array(64);
    const got = await readFully(source, 0, head);
    if (!ElfFile.matches(head.subarray(0, got))) {
      throw new FormatError(ELF_RULES.magic, "not an ELF file", {
        source: source.name,
        offset: 0,
        spec: SPEC,
      });
    }
    const ident = elfIdent.decode(head, "little");
    const refuse = (rule: Rule, offset: number, message: string): FormatError =>
      new FormatError(rule, message, { source: source.name, offset, spec: SPEC });
    if (ident.class !== ELFCLASS32 && ident.class !== ELFCLASS64) {
      throw refuse(
        ELF_RULES.ident,
        elfIdent.offsetOf("class"),
        `ELF class ${ident.class} is neither 32- nor 64-bit`,
      );
    }
    if (ident.data !== ELFDATA2LSB && ident.data !== ELFDATA2MSB) {
      throw refuse(
        ELF_RULES.ident,
        elfIdent.offsetOf("data"),
        `byte order ${ident.data} is neither little nor big`,
      );
    }
    const bits = ident.class === ELFCLASS64 ? 64 : 32;
    const order = ident.data === ELFDATA2LSB ? "little" : "big";
    const { ehdr, phdr } = elfLayouts(bits);
    if (got < ehdr.size) throw truncated(source, 0, ehdr.size, "ELF header");
    const header = placed(source, 0, "ELF header", () => ehdr.decode(head, order));
    if (header.e_version !== EV_CURRENT) {
      throw refuse(ELF_RULES.header, ehdr.offsetOf("e_version"), `ELF version ${header.e_version} is not 1`);
    }
    if (header.e_phnum !== 0 && header.e_phentsize !== phdr.size) {
      const text = `program headers of ${header.e_phentsize} bytes, not ${phdr.size}`;
      throw refuse(ELF_RULES.header, ehdr.offsetOf("e_phentsize"), text);
    }
    const count = await segmentCount(source, bits, order, header);
    if (count > SEGMENT_LIMIT) throw refuse(ELF_RULES.segments, header.e_phoff, `${count} program headers`);
    const bytes = await readExactly(source, header.e_phoff, count * phdr.size, `${count} program headers`);
    const segments = placed(source, header.e_phoff, "program headers", () =>
      readSegments(bytes, bits, order),
    );
    return new ElfFile(source, bits, order, header, segments);
  }

  /** A file whose headers are known from elsewhere. @param table its program headers as they would be in the file */
  static from(source: ByteSource, bits: ElfBits, order: ByteOrder, header: Ehdr, table: Uint8Array): ElfFile {
    return new ElfFile(source, bits, order, header, readSegments(table, bits, order));
  }

  /** All sections with their names; empty for a file without (most cores). Read once. */
  sections(): Promise<readonly ElfSection[]> {
    this.#sections ??= this.#readSections();
    return this.#sections;
  }

  async #readSections(): Promise<readonly ElfSection[]> {
    const { e_shoff, e_shnum, e_shentsize, e_shstrndx } = this.header;
    const { shdr } = elfLayouts(this.bits);
    if (e_shoff === 0) return [];
    if (e_shentsize !== shdr.size) {
      throw this.error(ELF_RULES.header, `section headers of ${e_shentsize} bytes, not ${shdr.size}`, 0);
    }
    const first = await readExactly(this.source, e_shoff, shdr.size, "section header 0");
    const zero = placed(this.source, e_shoff, "section header 0", () => shdr.decode(first, this.order));
    const count = e_shnum === 0 ? zero.sh_size : e_shnum;
    const namesIndex = e_shstrndx === SHN_XINDEX ? zero.sh_link : e_shstrndx;
    if (count > SECTION_LIMIT) throw this.error(ELF_RULES.sections, `${count} section headers`, e_shoff);
    const bytes = await readExactly(this.source, e_shoff, count * shdr.size, `${count} section headers`);
    const view = viewOf(bytes);
    const headers = Array.from({ length: count }, (_, i) =>
      placed(this.source, e_shoff + i * shdr.size, `section header ${i}`, () =>
        shdr.read(view, i * shdr.size, this.order),
      ),
    );
    const table = headers[namesIndex];
    let names = new Uint8Array(0);
    if (namesIndex !== 0 && table !== undefined && table.sh_type !== SHT_NOBITS) {
      names = await readExactly(this.source, table.sh_offset, table.sh_size, "section names");
    }
    return headers.map((header, index) => ({
      index,
      name: stringAt(names, header.sh_name),
      type: header.sh_type,
      flags: header.sh_flags,
      address: header.sh_addr,
      offset: header.sh_offset,
      size: header.sh_size,
      link: header.sh_link,
      info: header.sh_info,
      entrySize: header.sh_entsize,
    }));
  }

  /** The first section of a name that has contents in the file. */
  async section(name: string): Promise<ElfSection | undefined> {
    const all = await this.sections();
    return all.find((section) => section.name === name && section.type !== SHT_NOBITS);
  }

  /** Whether `sectionData` unpacks the section. */
  static isCompressed(section: ElfSection): boolean {
    return (section.flags & SHF_COMPRESSED) !== 0n || section.name.startsWith(".zdebug_");
  }

  /**
   * The contents of a section, unpacked where they are compressed (SHF_COMPRESSED with zlib or zstd,
   * `.zdebug_*` with zlib).
   *
   * @throws FormatError `elf/section/…`, `elf/size`; TruncatedError when the file ends before the section does.
   */
  async sectionData(section: ElfSection): Promise<Uint8Array> {
    if (section.type === SHT_NOBITS) return new Uint8Array(0);
    const bytes = await readExactly(this.source, section.offset, section.size, `section ${section.name}`);
    return ElfFile.isCompressed(section) ? unpackSection(this, section, bytes) : bytes;
  }

  /**
   * Notes of the PT_NOTE segments or, in files that have sections with notes and are no cores, of those.
   * (Separate debug files keep program headers that point at nothing.)
   */
  async notes(): Promise<readonly ElfNote[]> {
    const all: ElfNote[] = [];
    if (this.header.e_type !== ET_CORE) {
      for (const section of await this.sections()) {
        if (section.type !== SHT_NOTE || (section.flags & SHF_COMPRESSED) !== 0n) continue;
        const bytes = await readExactly(this.source, section.offset, section.size, `section ${section.name}`);
        // property notes of 64-bit files are padded to 8
        const alignment = section.name === ".note.gnu.property" && this.bits === 64 ? 8 : 4;
        appendTo(all, readNotes(bytes, this.order, { source: this.name, offset: section.offset }, alignment));
      }
      if (all.length > 0) return all;
    }
    for (let i = 0; i < this.segments.length; i += 1) {
      if (this.segments.type[i] !== PT_NOTE) continue;
      const { p_offset, p_filesz, p_align } = this.segments.at(i);
      if (p_filesz > NOTES_LIMIT)
        throw this.error(ELF_RULES.noteSize, `notes of ${p_filesz} bytes`, p_offset);
      const there = Math.max(0, Math.min(p_filesz, this.source.size - p_offset));
      const bytes = await readExactly(this.source, p_offset, there, "notes");
      const place = { source: this.name, offset: p_offset, missing: p_filesz - there };
      appendTo(all, readNotes(bytes, this.order, place, Number(p_align)));
    }
    return all;
  }

  /** The build id in hexadecimal, from the note `GNU` type 3. */
  async buildId(): Promise<string | undefined> {
    return buildIdOf(await this.notes());
  }

  /** Defined symbols by name, from `.symtab` and, after it, `.dynsym`. */
  async symbol(name: string): Promise<ElfSymbol | undefined> {
    return (await this.symbols()).find(name);
  }

  /** The symbol tables of the file, as one. Read once. */
  symbols(): Promise<SymbolTable> {
    this.#symbols ??= this.#readSymbols();
    return this.#symbols;
  }

  async #readSymbols(): Promise<SymbolTable> {
    const sections = await this.sections();
    const parts = [];
    for (const kind of [SHT_SYMTAB, SHT_DYNSYM]) {
      for (const section of sections) {
        const strings = sections[section.link];
        if (section.type !== kind || strings === undefined || strings.type === SHT_NOBITS) continue;
        const [entries, names] = [await this.sectionData(section), await this.sectionData(strings)];
        parts.push({ entries, names });
      }
    }
    return new SymbolTable(this.name, this.bits, this.order, parts);
  }

  async debugLink(): Promise<DebugLink | undefined> {
    const section = await this.section(".gnu_debuglink");
    if (section === undefined) return undefined;
    const bytes = await this.sectionData(section);
    const nul = bytes.indexOf(0);
    const crcAt = Math.ceil((nul + 1) / 4) * 4;
    if (nul <= 0 || crcAt + 4 > bytes.length) {
      throw this.error(ELF_RULES.debuglink, ".gnu_debuglink holds no name and checksum", section.offset);
    }
    return {
      name: latin1(bytes.subarray(0, nul)),
      crc: viewOf(bytes).getUint32(crcAt, this.order === "little"),
    };
  }

  async debugAltLink(): Promise<DebugAltLink | undefined> {
    const gnu = await this.section(".gnu_debugaltlink");
    const section = gnu ?? (await this.section(".debug_sup"));
    if (section === undefined) return undefined;
    const bytes = await this.sectionData(section);
    // DWARF 5, 7.3.6: version (2 bytes), is_supplementary (1), name, checksum with its length (ULEB128)
    if (gnu === undefined && bytes[2] !== 0) return undefined;
    const nameAt = gnu === undefined ? 3 : 0;
    const nul = bytes.indexOf(0, nameAt);
    if (nul <= nameAt) throw this.error(ELF_RULES.debuglink, `${section.name} holds no name`, section.offset);
    const idAt = gnu === undefined ? nul + 2 : nul + 1;
    return { name: latin1(bytes.subarray(nameAt, nul)), buildId: hexText(bytes.subarray(idAt)) };
  }

  /** Checksum by which other files name this one in their `.debug_sup` (DWARF 5, 7.3.6), in hexadecimal. */
  async supplementId(): Promise<string | undefined> {
    const section = await this.section(".debug_sup");
    if (section === undefined) return undefined;
    const bytes = await this.sectionData(section);
    const nul = bytes.indexOf(0, 3);
    return bytes[2] === 1 && nul >= 3 ? hexText(bytes.subarray(nul + 2)) : undefined;
  }

  /** A FormatError about this file. */
  error(rule: Rule, message: string, offset: number, record?: string): FormatError {
    return new FormatError(rule, message, {
      source: this.name,
      offset,
      ...(record === undefined ? {} : { record }),
    });
  }
}

/** The build id among notes, in hexadecimal. */
export function buildIdOf(notes: Iterable<ElfNote>): string | undefined {
  for (const note of notes) {
    if (note.name === "GNU" && note.type === NT_GNU_BUILD_ID && note.descriptor.length > 0) {
      return hexText(note.descriptor);
    }
  }
  return undefined;
}

/** Characters of a section's name at most: a longer one, of which a table can make many, is cut. */
const LONGEST_NAME = 512;

/** The NUL-ended string at an offset of a table, LONGEST_NAME bytes of it at most; empty beyond the table's end. */
export function stringAt(table: Uint8Array, offset: number): string {
  const part = table.subarray(Math.min(offset, table.length), offset + LONGEST_NAME);
  const nul = part.indexOf(0);
  return latin1(nul < 0 ? part : part.subarray(0, nul));
}

async function segmentCount(
  source: ByteSource,
  bits: ElfBits,
  order: ByteOrder,
  header: Ehdr,
): Promise<number> {
  if (header.e_phnum !== PN_XNUM) return header.e_phnum;
  const { shdr, phdr } = elfLayouts(bits);
  if (header.e_shoff !== 0 && header.e_shoff + shdr.size <= source.size) {
    const bytes = await readExactly(source, header.e_shoff, shdr.size, "section header 0");
    const { sh_info } = placed(source, header.e_shoff, "section header 0", () => shdr.decode(bytes, order));
    if (sh_info >= PN_XNUM) return sh_info;
    const text = `section 0 counts ${sh_info} program headers where e_phnum says 65535 or more`;
    throw new FormatError(ELF_RULES.segments, text, {
      source: source.name,
      offset: header.e_shoff,
      spec: SPEC,
    });
  }
  // the kernel puts section 0 after the contents, where a cut core has lost it; the notes follow the headers
  const bytes = await readExactly(source, header.e_phoff, phdr.size, "program header 0");
  const first = placed(source, header.e_phoff, "program header 0", () => phdr.decode(bytes, order));
  const count = (first.p_offset - header.e_phoff) / phdr.size;
  if (first.p_type === PT_NOTE && Number.isInteger(count) && count >= PN_XNUM) return count;
  throw truncated(source, header.e_shoff, shdr.size, "section header 0 with the number of program headers");
}

function truncated(source: ByteSource, offset: number, size: number, what: string): TruncatedError {
  const missing = offset + size - Math.max(source.size, offset);
  const text = `file of ${source.size} bytes ends before ${what} (0x${offset.toString(16)} + ${size})`;
  return new TruncatedError(ELF_RULES.truncated, text, missing, { source: source.name, offset });
}

async function readExactly(
  source: ByteSource,
  offset: number,
  size: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  if (offset + size > source.size) throw truncated(source, offset, size, what);
  if (size > HELD_LIMIT) {
    const text = `${what}: ${size} bytes, more than the ${HELD_LIMIT} that are held in memory`;
    throw new FormatError(ELF_RULES.size, text, { source: source.name, offset });
  }
  const bytes = new Uint8Array(size);
  if ((await readFully(source, offset, bytes)) < size) throw truncated(source, offset, size, what);
  return bytes;
}

/** Gives an error of the decoding of fixed fields its place. */
function placed<T>(source: ByteSource, offset: number, record: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const place: Place = { source: source.name, offset, record };
    throw new FormatError(error.rule, error.message, place);
  }
}
