import { type ByteOrder, roughU64, viewOf } from "../../binary/layout.js";
import { elfLayouts, type ElfBits, PT_LOAD, PT_NOTE } from "../../elf/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readFully } from "../../io/byte-source.js";

/** A program header of a damaged table as its bytes say it: nothing in it is believed yet. */
export interface RawHeader {
  readonly index: number;
  type: number;
  offset: number;
  fileSize: number;
  memorySize: number;
  virtual: bigint;
  physical: bigint;
  /** Whether every byte is zero: unused room of the table, or damage. */
  readonly isBlank: boolean;
}

/** Where a table of program headers may be, and how it is to be read. */
export interface TablePlace {
  readonly bits: ElfBits;
  readonly order: ByteOrder;
  readonly at: number;
  /** As the ELF header counts them; undefined where nothing does. */
  readonly count: number | undefined;
}

/** A damaged table of more is read as it is. */
export const MOST_HEADERS = 1 << 18;

/**
 * Reads `count` headers of a table, whatever is in them; fewer where the file ends.
 * @param isOnlyNamed of headers only those that say they are of memory or notes: bytes that are no table have few
 */
export async function readRawHeaders(
  input: ByteSource,
  { bits, order, at }: TablePlace,
  count: number,
  isOnlyNamed = false,
): Promise<RawHeader[]> {
  const { phdr } = elfLayouts(bits);
  const bytes = new Uint8Array(Math.max(0, Math.min(count * phdr.size, input.size - at)));
  const got = await readFully(input, at, bytes);
  const view = viewOf(bytes);
  const little = order === "little";
  const [offset, fileSize, memorySize] = [
    phdr.offsetOf("p_offset"),
    phdr.offsetOf("p_filesz"),
    phdr.offsetOf("p_memsz"),
  ];
  const [virtual, physical] = [phdr.offsetOf("p_vaddr"), phdr.offsetOf("p_paddr")];
  const number = (from: number): number =>
    bits === 64 ? roughU64(view, from, little) : view.getUint32(from, little);
  const address = (from: number): bigint =>
    bits === 64 ? view.getBigUint64(from, little) : BigInt(view.getUint32(from, little));
  const headers: RawHeader[] = [];
  const all = Math.floor(got / phdr.size);
  for (let index = 0, from = 0; index < all; index += 1, from += phdr.size) {
    const type = view.getUint32(from, little);
    if (isOnlyNamed && type !== PT_LOAD && type !== PT_NOTE) continue;
    headers.push({
      index,
      type,
      offset: number(from + offset),
      fileSize: number(from + fileSize),
      memorySize: number(from + memorySize),
      virtual: address(from + virtual),
      physical: address(from + physical),
      isBlank: isBlank(bytes, from, from + phdr.size),
    });
  }
  return headers;
}

/** Whether bytes [from, to) are zeros. */
function isBlank(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

/** Whether the numbers of a header can be those of memory or notes in a file, as far as they say by themselves. */
export function isPossible({ type, offset, fileSize, memorySize }: RawHeader, tableEnd: number): boolean {
  return (
    (type === PT_LOAD || type === PT_NOTE) &&
    (offset >= tableEnd || (fileSize === 0 && memorySize > 0)) &&
    Number.isSafeInteger(offset + fileSize) &&
    (type === PT_NOTE || (memorySize >= fileSize && Number.isSafeInteger(memorySize)))
  );
}

/** Headers of a large table that are looked at before all of them are weighed. */
const SAMPLED = 64;

/**
 * Whether any of some headers, evenly spaced over a large table, can be one of memory or notes that begins in the file; a
 * small one isn't looked at.
 */
export async function mayBeTable(input: ByteSource, place: TablePlace, count: number): Promise<boolean> {
  if (count <= SAMPLED) return true;
  const { phdr } = elfLayouts(place.bits);
  const tableEnd = place.at + count * phdr.size;
  for (let i = 0; i < SAMPLED; i += 1) {
    const at = place.at + Math.floor((i * count) / SAMPLED) * phdr.size;
    const [header] = await readRawHeaders(input, { ...place, at }, 1);
    if (header !== undefined && isPossible(header, tableEnd) && header.offset < input.size) return true;
  }
  return false;
}
