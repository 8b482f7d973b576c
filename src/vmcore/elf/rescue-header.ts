import { type ByteOrder, viewOf } from "../../binary/layout.js";
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

/** Reads `count` headers of a table, whatever is in them; fewer where the file ends. */
export async function readRawHeaders(
  input: ByteSource,
  { bits, order, at }: TablePlace,
  count: number,
): Promise<RawHeader[]> {
  const { phdr } = elfLayouts(bits);
  const bytes = new Uint8Array(Math.max(0, Math.min(count * phdr.size, input.size - at)));
  const got = await readFully(input, at, bytes);
  const view = viewOf(bytes);
  const little = order === "little";
  const word = (field: "p_offset" | "p_vaddr" | "p_paddr" | "p_filesz" | "p_memsz", from: number): bigint =>
    bits === 64
      ? view.getBigUint64(from + phdr.offsetOf(field), little)
      : BigInt(view.getUint32(from + phdr.offsetOf(field), little));
  return Array.from({ length: Math.floor(got / phdr.size) }, (_, index): RawHeader => {
    const from = index * phdr.size;
    return {
      index,
      type: view.getUint32(from, little),
      offset: Number(word("p_offset", from)),
      fileSize: Number(word("p_filesz", from)),
      memorySize: Number(word("p_memsz", from)),
      virtual: word("p_vaddr", from),
      physical: word("p_paddr", from),
      isBlank: bytes.subarray(from, from + phdr.size).every((byte) => byte === 0),
    };
  });
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

/** Whether any of some headers, evenly spaced over a large table, can be one of memory or notes; a small one isn't looked at. */
export async function mayBeTable(input: ByteSource, place: TablePlace, count: number): Promise<boolean> {
  if (count <= SAMPLED) return true;
  const { phdr } = elfLayouts(place.bits);
  const tableEnd = place.at + count * phdr.size;
  for (let i = 0; i < SAMPLED; i += 1) {
    const at = place.at + Math.floor((i * count) / SAMPLED) * phdr.size;
    const [header] = await readRawHeaders(input, { ...place, at }, 1);
    if (header !== undefined && isPossible(header, tableEnd)) return true;
  }
  return false;
}
