import { latin1, roughU64, viewOf } from "../../../binary/layout.js";
import type { HeadFact } from "../../../guest/head.js";
import { MACHINES } from "../../machines.js";
import { isName } from "../frame.js";
import { NAMELESS } from "./blocks.js";
import type { CensusBlock } from "./census.js";

/*
 * The list of RAM blocks says things twice: the sum of their lengths is in front of it; each block's first record names
 * it, and its pages come up to its end. An entry that is damaged is between entries that are whole.
 */

/** A block of a list that was mended. */
export interface MendedBlock {
  readonly name: string;
  readonly length: number;
}

/** A list of RAM blocks that was mended, with what was taken from where. */
export interface MendedList {
  readonly blocks: readonly MendedBlock[];
  readonly facts: readonly HeadFact[];
}

interface Entry {
  name?: string | undefined;
  length?: number | undefined;
}

const LONGEST = 2 ** 52;
const UNIT = 1024;

/** A length in a list; undefined: none that a block can have. */
function lengthAt(view: DataView, at: number): number | undefined {
  const length = roughU64(view, at, false);
  return length > 0 && length < LONGEST && length % UNIT === 0 ? length : undefined;
}

function nameAt(bytes: Uint8Array, from: number, to: number): string | undefined {
  const name = latin1(bytes.subarray(from, to));
  return isName(name) ? name : undefined;
}

/** Bytes of the size of a host's page, and of an address. */
const MORE = 8;
const SMALLEST_PAGE = 4096;

/** Bytes that may follow the length of a block: an address where blocks of shared files are left out; the size of a huge page. */
const bytesAfter = (ignoreShared: boolean): readonly number[] =>
  ignoreShared ? [MORE, 2 * MORE] : [0, MORE];

/** An entry that begins at `at` and is whole; undefined where none is. */
function entryAt(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  more: number,
  ignoreShared: boolean,
): { readonly name: string; readonly length: number; readonly after: number } | undefined {
  const end = at + 9 + (bytes[at] ?? 0);
  const after = end + more;
  if (after > bytes.length) return undefined;
  if (more > (ignoreShared ? MORE : 0)) {
    const low = view.getUint32(end + 4);
    const isSize = view.getUint32(end) === 0 && low >= SMALLEST_PAGE && (low & (low - 1)) === 0;
    if (!isSize) return undefined;
  }
  // addresses are those of guests
  if (ignoreShared && roughU64(view, after - MORE, false) >= LONGEST) return undefined;
  const name = nameAt(bytes, at + 1, end - 8);
  const length = lengthAt(view, end - 8);
  return name === undefined || length === undefined ? undefined : { name, length, after };
}

/** Whether a list has whole entries only, of `total` bytes together. @param ignoreShared whether each has an address */
export function isWholeList(bytes: Uint8Array, total: number, ignoreShared: boolean): boolean {
  const view = viewOf(bytes);
  let sum = 0;
  for (let at = 0; at < bytes.length; ) {
    const entry = bytesAfter(ignoreShared)
      // of two readings the one with a page size, which can't be the length of a name
      .toReversed()
      .flatMap((more) => entryAt(bytes, view, at, more, ignoreShared) ?? [])[0];
    if (entry === undefined) return false;
    sum += entry.length;
    at = entry.after;
  }
  return sum === total;
}

/** Entries of a list, those that are damaged with what is left of them. @param bytes from the first entry to the end of the last */
function entriesOf(bytes: Uint8Array, ignoreShared: boolean): Entry[] {
  const view = viewOf(bytes);
  /** The entries from which whole ones lead to the end of the list. */
  const whole = new Map<number, Entry & { readonly after: number }>();
  const reaches = (at: number): boolean => at === bytes.length || whole.has(at);
  for (let at = bytes.length - 1; at >= 0; at -= 1)
    for (const more of bytesAfter(ignoreShared)) {
      const entry = entryAt(bytes, view, at, more, ignoreShared);
      if (entry !== undefined && reaches(entry.after)) whole.set(at, entry);
    }
  const entries: Entry[] = [];
  const [least = 0] = bytesAfter(ignoreShared);
  for (let at = 0; at < bytes.length; ) {
    const entry = whole.get(at);
    if (entry !== undefined) {
      entries.push({ name: entry.name, length: entry.length });
      at = entry.after;
      continue;
    }
    let end = at + 1;
    while (!reaches(end)) end += 1;
    // one entry fills what is between: the length of its name follows
    const readings = bytesAfter(ignoreShared).map((more) => end - more - 8);
    const fits = (place: number): boolean => bytes[at] === place - at - 1;
    const place = readings.find(fits) ?? end - least - 8;
    const isOne = place - at >= 2;
    entries.push({
      name: isOne ? nameAt(bytes, at + 1, place) : undefined,
      length: isOne ? lengthAt(view, place) : undefined,
    });
    at = end;
  }
  return entries;
}

/**
 * Mends a list of RAM blocks; undefined where it doesn't say enough.
 * @param total the sum of all lengths as the list has it, which may be damaged too
 * @param ignoreShared whether each entry has an address, and blocks of shared files have no records
 */
export function mendList(
  bytes: Uint8Array,
  total: number,
  census: readonly CensusBlock[],
  ignoreShared: boolean,
): MendedList | undefined {
  const entries = entriesOf(bytes, ignoreShared);
  const facts: HeadFact[] = [];
  const seen = new Map(census.map(({ name, length }) => [name, length]));
  const listed = new Set(entries.map(({ name }) => name));
  renameRam(entries, seen, listed, facts);
  const unlisted = census.filter(({ name }) => !listed.has(name));
  const nameless = entries.filter(({ name }) => name === undefined);
  const named = unlisted.flatMap(({ name }) => name ?? []);
  const [shared] = nameless;
  if (ignoreShared && shared !== undefined && nameless.length === 1 && named.length === 0) {
    // of a block that was left out no record has the name
    shared.name = NAMELESS;
    facts.push({ fact: "name of a RAM block" });
  } else if (nameless.length !== named.length) return undefined;
  for (const [i, name] of named.entries()) {
    const entry = nameless[i];
    if (entry === undefined) return undefined;
    entry.name = name;
    facts.push({ fact: "name of a RAM block", value: name, from: "its first record" });
  }
  const sum = (): number => entries.reduce((all, { length = 0 }) => all + length, 0);
  const lengthless = entries.filter(({ length }) => length === undefined);
  const [only] = lengthless;
  const rest = total - sum();
  if (only !== undefined && lengthless.length === 1 && rest > 0 && rest === (seen.get(only.name) ?? rest)) {
    only.length = rest;
    facts.push(sizeFact(only.name, rest, "the sum of all blocks"));
  }
  for (const entry of entries.filter(({ length }) => length === undefined)) {
    const length = seen.get(entry.name);
    if (length === undefined) return undefined;
    entry.length = length;
    facts.push(sizeFact(entry.name, length, "the last of its pages"));
  }
  if (sum() !== total) mendLength(entries, total - sum(), seen, facts);
  return {
    blocks: entries.map(({ name = "", length = 0 }) => ({ name, length })),
    facts,
  };
}

/** Gives the machine's RAM its name where the list has another, and no record names that one. */
function renameRam(
  entries: readonly Entry[],
  seen: ReadonlyMap<string | undefined, number>,
  listed: Set<string | undefined>,
  facts: HeadFact[],
): void {
  const ram = MACHINES.find((machine) => seen.has(machine.ram) && !listed.has(machine.ram))?.ram;
  const unseen = entries.filter(({ name }) => name !== undefined && !seen.has(name));
  // blocks of shared files have no records either
  const strange = unseen.length > 1 ? unseen.filter(({ length }) => length === seen.get(ram)) : unseen;
  const [entry] = strange;
  if (ram === undefined || entry === undefined || strange.length > 1) return;
  if ((entry.length ?? 0) < (seen.get(ram) ?? 0)) return;
  entry.name = ram;
  listed.add(ram);
  facts.push({ fact: "name of a RAM block", value: ram, from: "its first record" });
}

/** Mends the one length that is wrong where the sum and the pages that came agree on another. */
function mendLength(
  entries: readonly Entry[],
  excess: number,
  seen: ReadonlyMap<string | undefined, number>,
  facts: HeadFact[],
): void {
  for (const entry of entries) {
    const length = (entry.length ?? 0) + excess;
    if (seen.get(entry.name) !== length) continue;
    entry.length = length;
    facts.push(sizeFact(entry.name, length, "the sum of all blocks"));
    return;
  }
  // of a length that is too small pages came beyond its end
  for (const entry of entries) {
    const length = seen.get(entry.name) ?? 0;
    if (length <= (entry.length ?? 0)) continue;
    entry.length = length;
    facts.push(sizeFact(entry.name, length, "the last of its pages"));
  }
}

const sizeFact = (name: string | undefined, length: number, from: string): HeadFact => ({
  fact: `size of RAM block '${name ?? ""}'`,
  value: `${length} bytes`,
  from,
});
