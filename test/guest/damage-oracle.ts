import { expect } from "vitest";
import { GuestscopeError } from "../../src/findings/errors.js";
import type { GuestImage } from "../../src/guest/image.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openGuest } from "../../src/open/open.js";

/** Bytes of a file. */
export type Place = readonly [offset: number, length: number];

/** Of one page: its guest-physical address, where its contents are in the file, and where what leads to them is. */
export interface PagePlace {
  readonly gpa: number;
  readonly size: number;
  /** Bytes of the file that its contents come from; none of zeros, of which the index alone tells. */
  readonly contents: readonly Place[];
  /** Record headers, descriptors, bits: bytes of the file. */
  readonly index: readonly Place[];
}

/** A file whose every page is known. */
export interface KnownFile {
  readonly bytes: Buffer;
  readonly pages: readonly PagePlace[];
  /** A page's contents as they must be. */
  page(place: PagePlace): Uint8Array;
  /** Batches name few pages of many: a damaged entry may name another one and still be in order, which nothing shows. */
  readonly isSparse?: boolean;
  open(bytes: Buffer): Promise<GuestImage>;
}

/** Numbers that are the same in every run, from 0 to 1. */
export function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // the low bits of such a generator have short periods
    return ((state >>> 8) ^ (state & 0xff)) / 2 ** 24;
  };
}

export const DAMAGE_KINDS = ["zeros", "ones", "noise", "flip", "other pages"] as const;
export type DamageKind = (typeof DAMAGE_KINDS)[number];

/** A copy of bytes with [start, end) damaged; offsets of everything else stay. */
export function damage(
  bytes: Buffer,
  kind: DamageKind,
  start: number,
  end: number,
  next: () => number,
): Buffer {
  const damaged = Buffer.from(bytes);
  if (kind === "zeros") damaged.fill(0, start, end);
  else if (kind === "ones") damaged.fill(0xff, start, end);
  else if (kind === "noise") for (let at = start; at < end; at += 1) damaged[at] = Math.floor(next() * 256);
  else if (kind === "flip") damaged.writeUInt8((damaged[start] ?? 0) ^ (1 << Math.floor(next() * 8)), start);
  else {
    // a sector that was written to the wrong place
    const from = Math.floor(next() * (bytes.length - (end - start)));
    bytes.copy(damaged, start, from, from + end - start);
  }
  return damaged;
}

/** Bytes of a damage of a kind: a flip is one byte. Else from a few bytes to 1 MiB, small ones as often as large. */
export const damageSize = (kind: DamageKind, next: () => number): number =>
  kind === "flip" ? 1 : Math.ceil(2 ** (3 + next() * 17));

/** What came of reading a damaged file. */
interface Recovery {
  /** Pages whose contents and index lie outside of the damage, and those of them that were recovered. */
  readonly wanted: number;
  readonly recovered: number;
  /** Addresses of pages that were given with other contents than they had, not as doubtful, and whose bytes are outside of the damage. */
  readonly wrong: readonly number[];
  /** Pages that were given as doubtful, and those of them that have other contents than they had. */
  readonly doubtful: number;
  readonly older: number;
}

/** Reads every page of a damaged file and compares it with what it was. */
async function recovery(file: KnownFile, guest: GuestImage, start: number, end: number): Promise<Recovery> {
  const touches = ([offset, length]: Place): boolean => offset < end && offset + length > start;
  const into = Buffer.alloc(1 << 16);
  let wanted = 0;
  let recovered = 0;
  const wrong: number[] = [];
  let doubtful = 0;
  let older = 0;
  const isDoubtful = (gpa: number): boolean =>
    guest.rescue?.doubtful.some((part) => gpa >= part.start && gpa < part.end) === true;
  for (const place of file.pages) {
    if (place.contents.some(touches)) continue;
    const isIndexed = !place.index.some(touches);
    if (isIndexed) wanted += 1;
    const page = into.subarray(0, place.size);
    let n = 0;
    try {
      n = await guest.memory.read(place.gpa, page);
    } catch {
      // contents that don't unpack are not given
    }
    if (n < place.size) continue;
    const isRight = page.equals(file.page(place));
    if (isDoubtful(place.gpa)) {
      doubtful += 1;
      if (!isRight) older += 1;
    } else if (!isRight) wrong.push(place.gpa);
    if (isRight && isIndexed) recovered += 1;
  }
  return { wanted, recovered, wrong, doubtful, older };
}

/** Bytes of damage that may leave a batch's entries plausible. */
const SMALL = 16;

/** Damages a file in one place and holds what is required of its rescue. */
export async function expectRescue(
  file: KnownFile,
  kind: DamageKind,
  start: number,
  size: number,
  next: () => number,
): Promise<Recovery> {
  const end = Math.min(start + size, file.bytes.length);
  const damaged = damage(file.bytes, kind, start, end, next);
  const guest = await file.open(damaged);
  try {
    const found = await recovery(file, guest, start, end);
    const { wanted, recovered, wrong } = found;
    const where = `${kind} from 0x${start.toString(16)} to 0x${end.toString(16)}: ${recovered} of ${wanted}`;
    const isEntry =
      file.isSparse === true &&
      end - start <= SMALL &&
      file.pages.some(({ index }) => index.some(([at, length]) => at < end && at + length > start));
    if (isEntry) expect(wrong.length, where).toBeLessThanOrEqual(2);
    else expect(wrong.map((gpa) => gpa.toString(16)).slice(0, 4), where).toEqual([]);
    if (wanted > 0) expect(recovered / wanted, where).toBeGreaterThanOrEqual(0.95);
    return found;
  } finally {
    await guest.close?.();
  }
}

/**
 * Takes bytes out of a page's contents, or puts some in before it, and holds what is required of the rescue: the record
 * that is hit is lost or doubtful, and the memory of all others is as it was. What happens to be a stream without a fault
 * (bytes missing that are as many as the records after it, zeros where its end may be) is none to be rescued: false then.
 */
export async function expectShiftRescue(
  file: KnownFile,
  kind: "missing" | "inserted",
  hit: PagePlace,
  size: number,
  next: () => number,
): Promise<boolean> {
  const recordOf = ({ index: [record] }: PagePlace): number => record?.[0] ?? 0;
  const at = hit.contents[0]?.[0] ?? 0;
  const end = kind === "missing" ? at + size : at;
  const noise = Buffer.from(Array.from({ length: size }, () => Math.floor(next() * 256)));
  const between = kind === "missing" ? Buffer.alloc(0) : noise;
  const shifted = Buffer.concat([file.bytes.subarray(0, at), between, file.bytes.subarray(end)]);
  if (await isFaultless(shifted)) return false;
  const guest = await file.open(shifted);
  const where = `${size} bytes ${kind} at 0x${at.toString(16)}`;
  const record = recordOf(hit);
  const isDoubted = guest.rescue?.lost.some(
    (part) => (part.doubtfulFrom ?? part.start) <= record && record < part.end,
  );
  expect(isDoubted, where).toBe(true);
  const others = file.pages.filter(
    (place) => recordOf(place) < record || (recordOf(place) > record && recordOf(place) >= end),
  );
  const into = Buffer.alloc(1 << 16);
  let recovered = 0;
  for (const place of others) {
    const page = into.subarray(0, place.size);
    if ((await guest.memory.read(place.gpa, page)) < place.size) continue;
    recovered += 1;
    expect(page.equals(file.page(place)), `${where}: 0x${place.gpa.toString(16)}`).toBe(true);
  }
  if (others.length > 0) expect(recovered / others.length, where).toBeGreaterThanOrEqual(0.95);
  return true;
}

async function isFaultless(bytes: Uint8Array): Promise<boolean> {
  const opened = openGuest(bytesSource(bytes, "shifted"));
  return opened.then(
    () => true,
    (error: unknown) => {
      if (error instanceof GuestscopeError) return false;
      throw error;
    },
  );
}
