import { PT_LOAD } from "../../elf/layout.js";
import { isPossible, type RawHeader } from "./rescue-header.js";
import { roundUp } from "../../io/alignment.js";

/*
 * Contents of segments follow one another in the file, in the order of their headers: where one ends the next begins, at
 * once or at the next page. A header that doesn't fit between its neighbours is tried with what they leave for it; it is
 * believed when one of its own two lengths is that of the room, or when it is the only one that the room can be of.
 */

const PAGE = 4096;

/** A header with what is known of it after its neighbours were asked. */
export interface WeighedHeader {
  readonly header: RawHeader;
  /** As the table has it. */
  readonly stated: Readonly<RawHeader>;
  /** Names of fields that are others than the table says. */
  readonly changed: Set<string>;
  /** Whether nothing says what it describes. */
  isLost: boolean;
  /** Why, where more is known than that it fits nowhere. */
  why?: string;
  /** Neighbours that its contents join. */
  joints: number;
  /** Whether it maps contents that another header describes. */
  readonly isAlias: boolean;
}

/** What is known of the file beside its program headers. */
export interface FileBounds {
  /** Where the table ends; no contents begin before. */
  readonly tableEnd: number;
  /** Where the notes end that contents follow; undefined: not known. */
  readonly notesEnd: number | undefined;
  /** Where contents may end: the file, what QEMU writes after them. */
  readonly ends: readonly number[];
}

/** Whether contents that begin at `start` may follow some that end at `end`. */
const joins = (end: number, start: number): boolean =>
  start === end || (start % PAGE === 0 && start > end && start - end < PAGE);

/** What writers align the first contents to, after the notes. */
const ALIGNMENTS = [1, PAGE, 65_536];

/** Where contents may begin that come first after something that ends at `end`. */
const startsAfter = (end: number): readonly number[] => ALIGNMENTS.map((unit) => roundUp(end, unit));

/** Room in the file that contents must be in. */
interface Room {
  readonly start: number | undefined;
  readonly end: readonly number[];
}

/** Weighs the headers of a table by the places of their contents, and mends those that can only be meant otherwise. */
export function weighContents(headers: readonly RawHeader[], bounds: FileBounds): WeighedHeader[] {
  const aliases = aliasesOf(headers, bounds.tableEnd);
  const weighed = headers.map(
    (header): WeighedHeader => ({
      header: { ...header },
      stated: header,
      changed: new Set(),
      isLost: false,
      joints: 0,
      isAlias: aliases.has(header.index),
    }),
  );
  const chain = weighed.filter((one) => !one.isAlias && mayHaveContents(one.header, bounds.tableEnd));
  new Chain(chain, bounds).mend();
  return weighed;
}

/** Whether a header has contents in the file, or is damaged and may have had some. */
function mayHaveContents(header: RawHeader, tableEnd: number): boolean {
  if (!isPossible(header, tableEnd)) return true;
  return header.type === PT_LOAD && (header.fileSize > 0 || header.memorySize === 0);
}

/** Headers that map what is within another's contents, at the same physical address. */
function aliasesOf(headers: readonly RawHeader[], tableEnd: number): ReadonlySet<number> {
  const groups = new Map<bigint, RawHeader[]>();
  for (const header of headers) {
    if (header.type !== PT_LOAD || header.fileSize === 0 || !isPossible(header, tableEnd)) continue;
    const shift = header.physical - BigInt(header.offset);
    const group = groups.get(shift);
    if (group === undefined) groups.set(shift, [header]);
    else group.push(header);
  }
  const found = new Set<number>();
  for (const group of groups.values()) {
    let reach = -1;
    for (const header of group.sort((a, b) => a.offset - b.offset || b.fileSize - a.fileSize)) {
      if (header.offset + header.fileSize <= reach) found.add(header.index);
      reach = Math.max(reach, header.offset + header.fileSize);
    }
  }
  return found;
}

class Chain {
  readonly #rows: readonly WeighedHeader[];
  readonly #bounds: FileBounds;

  constructor(rows: readonly WeighedHeader[], bounds: FileBounds) {
    this.#rows = rows;
    this.#bounds = bounds;
  }

  #isUsable(i: number): boolean {
    const header = this.#rows[i]?.header;
    if (header?.type !== PT_LOAD || header.fileSize === 0) return false;
    return isPossible(header, this.#bounds.tableEnd);
  }

  /** Whether the rows before and after a boundary join: boundary i is before row i. */
  #isJoined(boundary: number): boolean {
    const [before, after] = [this.#rows[boundary - 1]?.header, this.#rows[boundary]?.header];
    if (before !== undefined && !this.#isUsable(boundary - 1)) return false;
    if (after !== undefined && !this.#isUsable(boundary)) return false;
    if (after === undefined) return before !== undefined && this.#bounds.ends.includes(endOf(before));
    if (before !== undefined) return joins(endOf(before), after.offset);
    const { notesEnd } = this.#bounds;
    return notesEnd !== undefined && startsAfter(notesEnd).includes(after.offset);
  }

  #count(): void {
    this.#rows.forEach((row, i) => {
      row.joints = (this.#isJoined(i) ? 1 : 0) + (this.#isJoined(i + 1) ? 1 : 0);
    });
  }

  mend(): void {
    this.#count();
    const usable = this.#rows.filter((_, i) => this.#isUsable(i));
    const joints = usable.reduce((sum, row) => sum + row.joints, 0);
    // a writer that puts contents in another way says nothing of one header by the next
    const isChained = joints > 0 && joints * 2 >= usable.length;
    if (isChained || this.#rows.length === 1) {
      for (let i = 0; i < this.#rows.length; ) {
        if (this.#rows[i]?.joints === 2) {
          i += 1;
          continue;
        }
        let end = i;
        while (end < this.#rows.length && this.#rows[end]?.joints !== 2) end += 1;
        this.#settle(i, end, isChained);
        i = end;
      }
      this.#count();
    }
    for (const [i, row] of this.#rows.entries()) if (!this.#isUsable(i)) row.isLost = true;
    this.#dropOverlaps();
  }

  /** Mends rows [from, to), whose neighbours on both sides are whole. @param isChained whether the others are in order */
  #settle(from: number, to: number, isChained: boolean): void {
    let [left, right] = [from, to];
    let start = this.#startOf(from);
    let ends = this.#endsOf(to);
    for (; left < right && this.#fitsAfter(left, start, ends); left += 1)
      start = endOf(this.#at(left).header);
    for (; right > left && this.#fitsBefore(right - 1, ends, start); right -= 1)
      ends = [this.#at(right - 1).header.offset];
    const rows = this.#rows.slice(left, right);
    const room = { start, end: ends };
    const [only] = rows;
    if (rows.length === 1 && only !== undefined) placeOnly(only, room, isChained);
    else if (rows.length > 1) placeInOrder(rows, room);
  }

  #at(i: number): WeighedHeader {
    const row = this.#rows[i];
    if (row === undefined) throw new RangeError("no such header");
    return row;
  }

  #startOf(i: number): number | undefined {
    const before = this.#rows[i - 1]?.header;
    return before === undefined ? this.#bounds.notesEnd : endOf(before);
  }

  #endsOf(i: number): readonly number[] {
    const after = this.#rows[i]?.header;
    return after === undefined ? this.#bounds.ends : [after.offset];
  }

  /** Whether a row begins where the room does and nothing speaks against its length. */
  #fitsAfter(i: number, start: number | undefined, ends: readonly number[]): boolean {
    const { header } = this.#at(i);
    if (start === undefined || !this.#isUsable(i)) return false;
    if (!(i === 0 ? startsAfter(start).includes(header.offset) : joins(start, header.offset))) return false;
    const most = ends.reduce((last, end) => Math.max(last, end), 0);
    return (header.fileSize === header.memorySize || this.#isJoined(i + 1)) && endOf(header) <= most;
  }

  #fitsBefore(i: number, ends: readonly number[], start: number | undefined): boolean {
    const { header } = this.#at(i);
    if (!this.#isUsable(i) || !ends.some((end) => joins(endOf(header), end))) return false;
    const agrees = header.fileSize === header.memorySize || this.#isJoined(i);
    return agrees && header.offset >= (start ?? this.#bounds.tableEnd);
  }

  /** Gives up headers whose contents would be those of others that fit better. */
  #dropOverlaps(): void {
    const sorted = this.#rows
      .filter((row) => !row.isLost && row.header.fileSize > 0)
      .sort((a, b) => a.header.offset - b.header.offset);
    let reached: WeighedHeader | undefined;
    for (const row of sorted) {
      if (
        reached !== undefined &&
        endOf(reached.header) > row.header.offset &&
        reached.joints !== row.joints
      ) {
        const worse = reached.joints < row.joints ? reached : row;
        worse.isLost = true;
        if (worse === row) continue;
      }
      if (reached === undefined || reached.isLost || endOf(row.header) > endOf(reached.header)) reached = row;
    }
  }
}

const endOf = ({ offset, fileSize }: RawHeader): number => offset + fileSize;

/** Gives the one header of a room its place, where at least a bound and a length, or both bounds, are known. */
function placeOnly(row: WeighedHeader, { start, end }: Room, isChained: boolean): void {
  const { header } = row;
  const sizes = new Set([header.fileSize, header.memorySize].filter((size) => size > 0));
  const starts = start === undefined ? [] : startsAfter(start);
  // contents that reach to the end exactly before those that a page's rest follows
  for (const fits of [(at: number, to: number): boolean => at === to, joins])
    for (const to of end)
      for (const from of starts)
        for (const size of sizes) if (fits(from + size, to)) return place(row, from, size);
  const [to] = end;
  const isAgreed = header.fileSize > 0 && header.fileSize === header.memorySize;
  if (!isChained || to === undefined) return undefined;
  if (start === undefined && isAgreed && to > header.fileSize)
    return place(row, to - header.fileSize, header.fileSize);
  // lengths that agree with each other, and not with the room, say that it isn't this one's alone
  const from = starts.find((at) => at === header.offset) ?? starts[0];
  if (from !== undefined && to > from && !isAgreed) place(row, from, to - from);
  return undefined;
}

/** Gives headers of a room places one after another, where their lengths are all of it, or all but one's. */
function placeInOrder(rows: readonly WeighedHeader[], { start, end }: Room): void {
  const [to] = end;
  if (start === undefined || to === undefined) return;
  const unknown = rows.filter(({ header }) => header.fileSize !== header.memorySize || header.fileSize === 0);
  const [other] = unknown;
  if (unknown.length > 1) return;
  const total = rows.reduce((sum, row) => sum + (row === other ? 0 : row.header.fileSize), 0);
  const from = startsAfter(start).find((at) =>
    other === undefined ? end.includes(at + total) : at + total < to,
  );
  if (from === undefined) return;
  let at = from;
  for (const row of rows) {
    const size = row === other ? to - from - total : row.header.fileSize;
    place(row, at, size);
    at += size;
  }
}

function place(row: WeighedHeader, offset: number, size: number): void {
  const { header, changed } = row;
  const set = (field: "type" | "offset" | "fileSize" | "memorySize", value: number, name: string): void => {
    if (header[field] === value) return;
    header[field] = value;
    changed.add(name);
  };
  // less contents than memory is a writer's choice, more is none
  const memory = header.memorySize > size && header.fileSize === size ? header.memorySize : size;
  set("type", PT_LOAD, "p_type");
  set("offset", offset, "p_offset");
  set("fileSize", size, "p_filesz");
  set("memorySize", memory, "p_memsz");
}
