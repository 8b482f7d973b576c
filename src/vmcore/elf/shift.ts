import { indexOfBytes } from "../../io/byte-search.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import { isZero, wordsOf } from "../../io/zeros.js";
import { elfLayouts, SHT_NOBITS } from "../../elf/layout.js";
import type { ElfFile } from "../../elf/file.js";

/*
 * Contents are found by offsets: bytes that are missing, or were inserted, shift all that follows them. What should be at the
 * end of the file shows how many they are, and nothing shows where.
 */

/** The names of sections as QEMU writes them, right after the contents. */
export const SECTION_NAMES = new TextEncoder().encode("\0.shstrtab\0");
/** Padding is in whole sectors. */
const SECTOR = 512;
const MOST_READ = 1 << 20;

/** How far contents are shifted at the end of a file: below zero where bytes are missing; 0: not, as far as can be known. */
export async function shiftOf(elf: ElfFile, contentsEnd: number): Promise<number> {
  const { source } = elf;
  const namesAt = source.size - SECTION_NAMES.length;
  const described = Math.max(contentsEnd, await sectionsEnd(elf));
  if (described === source.size) return 0;
  if (await beginsWith(source, namesAt)) return namesAt - contentsEnd;
  const surplus = source.size - described;
  if (surplus <= 0) return 0;
  const bytes = new Uint8Array(Math.min(surplus, MOST_READ));
  await readFully(source, described, bytes);
  const isPadding = source.size % SECTOR === 0 && isZero(bytes, wordsOf(bytes));
  return isPadding ? 0 : surplus;
}

async function beginsWith(source: ByteSource, at: number): Promise<boolean> {
  const bytes = new Uint8Array(SECTION_NAMES.length);
  if (at < 0 || (await readFully(source, at, bytes)) < bytes.length) return false;
  return indexOfBytes(bytes, SECTION_NAMES, 0) === 0;
}

/** Where section headers and what they describe end; 0 where there are none, or they can't be read. */
async function sectionsEnd(elf: ElfFile): Promise<number> {
  const { e_shoff, e_shnum } = elf.header;
  if (e_shoff === 0) return 0;
  try {
    const sections = await elf.sections();
    const table = e_shoff + Math.max(e_shnum, sections.length) * elfLayouts(elf.bits).shdr.size;
    return sections.reduce(
      (most, { type, offset, size }) => (type === SHT_NOBITS ? most : Math.max(most, offset + size)),
      table,
    );
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return 0;
  }
}

/** A shift in words. */
export const shiftText = (shift: number): string =>
  shift > 0
    ? `${shift} bytes follow the contents, which may have been inserted before`
    : `${-shift} bytes are missing before the end of the contents`;
