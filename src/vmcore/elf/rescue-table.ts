import { elfLayouts, PT_LOAD, PT_NOTE } from "../../elf/layout.js";
import { readNotes } from "../../elf/notes.js";
import { beginsWithNote, isKnownNote, salvageNotes, type SalvagedNotes } from "../../elf/notes-salvage.js";
import { FormatError } from "../../findings/errors.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { weighAddresses } from "./rescue-addresses.js";
import { type FileBounds, type WeighedHeader, weighContents } from "./rescue-contents.js";
import { isPossible, type RawHeader, readRawHeaders, type TablePlace } from "./rescue-header.js";
import { SECTION_NAMES } from "./shift.js";
import { roundUp } from "../../io/alignment.js";

/** Notes are a few KiB a vCPU. */
const MOST_NOTES = 16 << 20;
/** Bytes of a note's header and name. */
const NOTE_HEAD = 64;
const PAGE = 4096;
/** Writers align the first contents to as many bytes at most. */
const MOST_PADDING = 65_536;

/** A place of notes that was found by what is in it. */
export interface FoundNotes extends SalvagedNotes {
  readonly start: number;
  readonly end: number;
  /** Header of the notes; undefined: none says where they are. */
  readonly index: number | undefined;
  /** Whether it says something else. */
  readonly isMended: boolean;
}

/** Bytes of the file that belong to memory of which no header is left. */
export interface UnknownContents {
  readonly start: number;
  readonly end: number;
}

/** A table of program headers, weighed. */
export interface WeighedTable {
  readonly place: TablePlace;
  readonly headers: readonly WeighedHeader[];
  readonly notes: FoundNotes | undefined;
  readonly unknown: readonly UnknownContents[];
  /** Whether notes begin where the table ends, and contents end where the file does. */
  readonly isWhole: boolean;
  /** How much agrees: places of contents that join, notes where they should be. */
  readonly score: number;
}

/** Weighs a table of so many headers at a place. */
export async function weighTable(input: ByteSource, place: TablePlace, count: number): Promise<WeighedTable> {
  const tableEnd = place.at + count * elfLayouts(place.bits).phdr.size;
  const raw = await readRawHeaders(input, place, count);
  const notes = await findNotes(input, place, raw, tableEnd);
  const contents = raw.filter(({ index }) => index !== notes?.index);
  // some writers add notes after the contents
  const isLast = notes !== undefined && contents.every(({ offset }) => offset < notes.start);
  const bounds: FileBounds = {
    tableEnd,
    notesEnd: isLast ? undefined : notes?.end,
    ends: [...(isLast ? [notes.start] : []), input.size, input.size - SECTION_NAMES.length],
  };
  const headers = weighContents(contents, bounds);
  const joints = headers.reduce((sum, row) => sum + row.joints, 0);
  await weighAddresses(input, headers);
  const isBeside = notes !== undefined && (notes.start === tableEnd || notes.start === onPage(tableEnd));
  return {
    place,
    headers,
    notes,
    isWhole: isBeside && reachesEnd(headers, bounds, input.size),
    unknown: fillGaps(headers, bounds, input.size),
    score: joints + (notes === undefined ? 0 : 2) + (isBeside ? 1 : 0),
  };
}

/** Whether the last contents end where the file does, or the file before them. */
function reachesEnd(headers: readonly WeighedHeader[], { ends }: FileBounds, fileSize: number): boolean {
  const last = headers.reduce(
    (most, { header, isLost }) =>
      isLost || header.type !== PT_LOAD ? most : Math.max(most, header.offset + header.fileSize),
    0,
  );
  return last >= fileSize || ends.includes(last);
}

const onPage = (offset: number): number => roundUp(offset, PAGE);

/** Finds the notes: where a header says, or where writers put them. */
async function findNotes(
  input: ByteSource,
  { order }: TablePlace,
  headers: readonly RawHeader[],
  tableEnd: number,
): Promise<FoundNotes | undefined> {
  const stated = headers.find((header) => header.type === PT_NOTE && isPossible(header, tableEnd));
  // its header comes first, whatever is left of it
  const [first] = headers;
  const own = stated ?? (first?.type === PT_LOAD && isPossible(first, tableEnd) ? undefined : first);
  const contents = headers
    .filter((header) => header !== own && header.type === PT_LOAD && isPossible(header, tableEnd))
    .map(({ offset }) => offset);
  const at = async (start: number): Promise<FoundNotes | undefined> => {
    if (!(start >= tableEnd && start < input.size)) return undefined;
    const head = new Uint8Array(NOTE_HEAD);
    const isNote = beginsWithNote(head.subarray(0, await readFully(input, start, head)), order);
    // most files are undamaged, and contents begin there
    if (!isNote && stated?.offset !== start) return undefined;
    const limit = contents.reduce((least, one) => (one > start && one < least ? one : least), input.size);
    const bytes = new Uint8Array(Math.min(MOST_NOTES, limit - start));
    const there = bytes.subarray(0, await readFully(input, start, bytes));
    const size = own?.fileSize ?? 0;
    const isStated = size > 0 && size <= there.length && !beginsWithNote(there.subarray(size), order);
    if (!isNote && !isStated) return undefined;
    const read = salvageNotes(isStated ? there.subarray(0, size) : there, order, start);
    const [last] = read.lost;
    const found = limit === input.size || limit - start > MOST_NOTES ? (last?.start ?? limit) : limit;
    const isMended = !isStated || stated?.offset !== start || !isPlaced;
    return { ...read, start, end: isStated ? start + size : found, index: own?.index, isMended };
  };
  const asStated = stated === undefined ? undefined : await wholeNotes(input, stated, order);
  const isPlaced = stated !== undefined && Number.isSafeInteger(stated.offset + stated.memorySize);
  if (asStated !== undefined) return { ...asStated, index: stated?.index, isMended: !isPlaced };
  for (const start of new Set([tableEnd, onPage(tableEnd), own?.offset ?? 0])) {
    const found = await at(start);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The notes that a header describes, where they are whole: they begin with a known one, and those of other names follow. */
async function wholeNotes(
  input: ByteSource,
  { offset, fileSize }: RawHeader,
  order: TablePlace["order"],
): Promise<Omit<FoundNotes, "index" | "isMended"> | undefined> {
  if (fileSize > MOST_NOTES || offset + fileSize > input.size) return undefined;
  const bytes = new Uint8Array(fileSize);
  await readFully(input, offset, bytes);
  try {
    const notes = [...readNotes(bytes, order, { source: input.name, offset })];
    const known = notes.findLastIndex(({ name }) => isKnownNote(name));
    const isWhole = known >= 0 && notes.slice(0, known).every(({ name }) => isKnownNote(name));
    return isWhole ? { notes, lost: [], start: offset, end: offset + fileSize } : undefined;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/**
 * Gives room between two segments to the first where their addresses are as far apart as their contents: what lost headers
 * described is there. Returns the contents that nothing describes.
 */
function fillGaps(
  headers: readonly WeighedHeader[],
  { tableEnd, notesEnd, ends }: FileBounds,
  fileSize: number,
): UnknownContents[] {
  if (headers.every(({ isLost }) => !isLost)) return [];
  const unknown: UnknownContents[] = [];
  const known = headers
    .filter(({ isLost, isAlias, header }) => !isLost && !isAlias && header.fileSize > 0)
    .sort((a, b) => a.header.offset - b.header.offset);
  let at = notesEnd ?? tableEnd;
  let before: WeighedHeader | undefined;
  const gap = (start: number, end: number): void => {
    // what is before the first contents may be padding
    const from = before === undefined && end % PAGE === 0 ? onPage(start) : start;
    if (end > from && !(before === undefined && end - from < MOST_PADDING))
      unknown.push({ start: from, end });
  };
  for (const row of known) {
    const { offset, fileSize: size, physical } = row.header;
    if (offset > at) {
      const one = before?.header;
      const isBetween =
        one !== undefined &&
        one.fileSize === one.memorySize &&
        physical - one.physical === BigInt(offset - one.offset);
      if (before !== undefined && one !== undefined && isBetween) {
        one.fileSize = offset - one.offset;
        one.memorySize = one.fileSize;
        before.changed.add("p_filesz");
      } else gap(at, offset);
    }
    if (offset + size > at) {
      at = offset + size;
      before = row;
    }
  }
  const end = ends.includes(at) ? at : fileSize;
  gap(at, end);
  return unknown;
}
