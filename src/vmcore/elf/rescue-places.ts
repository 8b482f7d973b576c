import type { ByteOrder } from "../../binary/layout.js";
import {
  ehdr64,
  type Ehdr,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  type ElfBits,
  elfLayouts,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
} from "../../elf/layout.js";
import { FormatError } from "../../findings/errors.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { isPossible, MOST_HEADERS, readRawHeaders, type TablePlace } from "./rescue-header.js";

/** Bytes from the start in which a table is looked for that no header leads to. */
const LOOKED_THROUGH = 64 << 10;
/** Headers that are looked at where nothing says how many there are. */
const UNCOUNTED = 4096;

/** A class and byte order with what the ELF header says in it. */
interface Reading {
  readonly bits: ElfBits;
  readonly order: ByteOrder;
  readonly header: Ehdr | undefined;
  /** How many of e_ident's two bytes say so. */
  readonly agrees: number;
}

/** The start of a file, read in each class and byte order, the stated ones first. */
export async function readingsOf(input: ByteSource): Promise<readonly Reading[]> {
  const head = new Uint8Array(ehdr64.size);
  await readFully(input, 0, head);
  const readings = ([64, 32] as const).flatMap((bits) =>
    (["little", "big"] as const).map((order): Reading => {
      const isClass = head[4] === (bits === 64 ? ELFCLASS64 : ELFCLASS32);
      const isOrder = head[5] === (order === "little" ? ELFDATA2LSB : ELFDATA2MSB);
      return { bits, order, header: decoded(bits, order, head), agrees: Number(isClass) + Number(isOrder) };
    }),
  );
  return readings.sort((a, b) => b.agrees - a.agrees);
}

/** A header whose numbers may be beyond 2^53; undefined then. */
function decoded(bits: ElfBits, order: ByteOrder, head: Uint8Array): Ehdr | undefined {
  try {
    return elfLayouts(bits).ehdr.decode(head, order);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Places where a table may be: where the ELF header says, and where writers put it. */
export function* likelyPlaces({ bits, order, header }: Reading, fileSize: number): Iterable<TablePlace> {
  const { ehdr, shdr } = elfLayouts(bits);
  // right after the ELF header, or after the section headers of QEMU or of a large table
  const places = [header?.e_phoff ?? 0, ehdr.size, ehdr.size + shdr.size, ehdr.size + 2 * shdr.size];
  const count = header?.e_phnum === PN_XNUM ? undefined : header?.e_phnum;
  for (const at of new Set(places)) if (at >= ehdr.size && at < fileSize) yield { bits, order, at, count };
}

/** The first place near the start at which a header of memory is that the file has. */
export async function findPlace(
  input: ByteSource,
  { bits, order, header }: Reading,
): Promise<TablePlace | undefined> {
  const { phdr, ehdr } = elfLayouts(bits);
  const most = Math.min(LOOKED_THROUGH, input.size);
  for (let shift = 0; shift < phdr.size; shift += 4) {
    const place = { bits, order, at: ehdr.size + shift, count: header?.e_phnum };
    const rows = await readRawHeaders(input, place, Math.floor(most / phdr.size), true);
    const first = rows.find(
      (row) =>
        row.type === PT_LOAD &&
        row.fileSize > 0 &&
        isPossible(row, place.at + (row.index + 1) * phdr.size) &&
        row.offset + row.fileSize <= input.size,
    );
    if (first !== undefined) return { ...place, at: place.at + first.index * phdr.size };
  }
  return undefined;
}

/** Numbers of headers that a table may have, those first that more speaks for. */
export async function likelyCounts(input: ByteSource, place: TablePlace): Promise<readonly number[]> {
  const { phdr } = elfLayouts(place.bits);
  const room = Math.floor((input.size - place.at) / phdr.size);
  const rows = await readRawHeaders(input, place, Math.min(UNCOUNTED, room), true);
  const tableEnd = (count: number): number => place.at + count * phdr.size;
  const last = rows.findLast(
    (row) => row.fileSize > 0 && isPossible(row, tableEnd(row.index + 1)) && row.offset <= input.size,
  );
  const note = rows.find(({ type, index }) => type === PT_NOTE && index < 8);
  const byNote = note === undefined ? undefined : (note.offset - place.at) / phdr.size;
  const counts = [place.count, byNote, last === undefined ? undefined : last.index + 1];
  const isPossibleCount = (count: number | undefined): count is number =>
    count !== undefined && Number.isInteger(count) && count > 0 && count <= Math.min(room, MOST_HEADERS);
  return [...new Set(counts.filter(isPossibleCount))];
}
