import { indexOfBytes } from "../../io/byte-search.js";
import { latin1, viewOf } from "../../binary/layout.js";
import { FormatError } from "../../findings/errors.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { ElfFile } from "../../elf/file.js";
import { shdr64, SHT_STRTAB } from "../../elf/layout.js";
import type { ElfSection } from "../../elf/section.js";
import { readXenCore, type XenCore } from "./read.js";

/*
 * The table of frames and the names of sections come last: where they are in another place than the section headers say,
 * bytes are missing before them, or were inserted. Contents after that place are shifted, and nothing says which.
 */

/** What the names of sections begin with. */
const NAMES = new TextEncoder().encode("\0.shstrtab\0");
/** What our own writer puts after the names is small. */
const TAIL = 1 << 20;
/** Entries of a table that are looked at. */
const SAMPLED = 64;
const MOST_SECTIONS = 64;

/** A core whose table is elsewhere. */
export interface ShiftedCore {
  readonly core: XenCore;
  /** Bytes by which the table is after the place that the headers say; below zero: before it. */
  readonly shift: number;
}

/** The core of a file in which names and table are elsewhere than its section headers say; undefined: they aren't. */
export async function shiftedCore(input: ByteSource): Promise<ShiftedCore | undefined> {
  try {
    const { header, bits } = await ElfFile.open(input);
    const namesAt = await findNames(input);
    const { e_shoff, e_shnum, e_shstrndx } = header;
    if (bits !== 64 || namesAt === undefined || e_shnum > MOST_SECTIONS) return undefined;
    const bytes = new Uint8Array(e_shnum * shdr64.size);
    if ((await readFully(input, e_shoff, bytes)) < bytes.length) return undefined;
    const view = viewOf(bytes);
    const headers = Array.from({ length: e_shnum }, (_, i) => shdr64.read(view, i * shdr64.size, "little"));
    const table = headers[e_shstrndx];
    if (table?.sh_type !== SHT_STRTAB || table.sh_size > TAIL || table.sh_offset === namesAt)
      return undefined;
    const names = new Uint8Array(table.sh_size);
    await readFully(input, namesAt, names);
    const sections = headers.map(
      (one, index): ElfSection => ({
        index,
        name: nameAt(names, one.sh_name),
        type: one.sh_type,
        flags: one.sh_flags,
        address: one.sh_addr,
        offset: one.sh_offset,
        size: one.sh_size,
        link: one.sh_link,
        info: one.sh_info,
        entrySize: one.sh_entsize,
      }),
    );
    return await movedTable(await readXenCore(input, sections), namesAt - table.sh_offset);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** A core with its table so many bytes after the place that is said, if it is there and not where it should be. */
export async function movedTable(core: XenCore, shift: number): Promise<ShiftedCore | undefined> {
  const { input, frames, pages, entrySize } = core;
  const at = frames.offset + shift;
  const isTable = async (place: number): Promise<boolean> =>
    (await begins(input, place, entrySize)) && (await ascends(input, place, pages, entrySize));
  if (!isSound(core) || !(await isTable(at))) return undefined;
  // bytes that were inserted into the table leave its first entries where they should be
  if (shift > 0 && (await isTable(frames.offset))) return undefined;
  return { core: { ...core, frames: { ...frames, offset: at } }, shift };
}

/** Whether a table may begin at a place: its second entry is one more than the first, and what is before it isn't one less. */
async function begins(input: ByteSource, at: number, entry: number): Promise<boolean> {
  const bytes = new Uint8Array(3 * entry);
  if (at < entry || (await readFully(input, at - entry, bytes)) < bytes.length) return false;
  const [before, first, second] = [0, 1, 2].map((i) => viewOf(bytes).getBigUint64(i * entry, true));
  return first !== undefined && second === first + 1n && before !== BigInt.asUintN(64, first - 1n);
}

function nameAt(names: Uint8Array, at: number): string {
  const end = names.indexOf(0, at);
  return latin1(names.subarray(at, end < 0 ? names.length : end));
}

/** A shift in words. */
export const shiftText = (shift: number): string =>
  shift > 0
    ? `${shift} bytes too many are before the table of frames`
    : `${-shift} bytes are missing before the table of frames`;

/** Whether sections have room for as many pages as the header note counts, and come in their order. */
export const isSound = ({
  contents,
  frames,
  pages,
  pageSize,
  entrySize,
  contexts,
  vcpus,
}: XenCore): boolean =>
  contents.size === pages * pageSize &&
  frames.size === pages * entrySize &&
  frames.offset === contents.offset + contents.size &&
  contexts.length === vcpus;

/** Where the names of sections begin, in the file's end; undefined: they aren't there. */
export async function findNames(input: ByteSource): Promise<number | undefined> {
  const from = Math.max(0, input.size - TAIL);
  const bytes = new Uint8Array(input.size - from);
  await readFully(input, from, bytes);
  let found: number | undefined;
  for (let at = indexOfBytes(bytes, NAMES, 0); at >= 0; at = indexOfBytes(bytes, NAMES, at + 1))
    found = from + at;
  return found;
}

/** Whether most of the first entries of a table are one more than those before them. */
export async function ascends(input: ByteSource, at: number, count: number, entry: number): Promise<boolean> {
  const most = Math.min(SAMPLED, count);
  const bytes = new Uint8Array(most * entry);
  if (at < 0 || most < 2 || (await readFully(input, at, bytes)) < bytes.length) return false;
  const view = viewOf(bytes);
  let ascents = 0;
  for (let i = 1; i < most; i += 1)
    if (view.getBigUint64(i * entry, true) === view.getBigUint64((i - 1) * entry, true) + 1n) ascents += 1;
  return ascents * 2 >= most - 1;
}
