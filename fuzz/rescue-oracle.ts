import * as crypto from "node:crypto";
import { GuestscopeError } from "../src/findings/errors.js";
import type { GuestImage } from "../src/guest/image.js";
import { bytesSource } from "../src/io/byte-source.js";
import { detectFormat } from "../src/open/detect.js";
import { openGuest, verify } from "../src/open/open.js";
import { Violation } from "./checks.js";
import type { Damage } from "./damage.js";

/*
 * What must hold of an input with one damage that is read with `partial`: a page that is given and differs from the
 * undamaged input's has its bytes in the damage, or is doubtful; the others are given; `verify` reports the damage; what
 * is said of the guest is so.
 */

const PAGE = 4096;
/** Bytes of damage that may leave an entry plausible: it names another page, and nothing shows it. */
const SMALL = 16;
/** Of pages that a damage doesn't touch so many are given. */
const LEAST_RECOVERED = 0.95;
/** What a Xen stream's rescue says of what breaks no rule: batches of an optional type, entries out of order. */
const UNRULED: ReadonlySet<string | undefined> = new Set([
  "a record's type, made anew",
  "damaged entries of a batch",
  "pages whose entries are damaged",
]);
/** Bytes after a damaged head of a record that may be its own: a batch of a Xen stream has 1,024 pages. */
const RECORD_REACH = 1024 * (PAGE + 8) + 64;

/** What is known of an undamaged input. */
export interface Known {
  /** `xen-stream` … */
  readonly format: string;
  /** Digest of each page, by its address. */
  readonly pages: ReadonlyMap<number, string>;
  /** Where its contents are in the input, where they are there as they are. */
  readonly places: ReadonlyMap<number, number>;
  /** Digests of all pages that aren't one byte over and over. */
  readonly digests: ReadonlySet<string>;
  readonly origin: string;
  readonly arch: string;
  readonly guestType: string | undefined;
  readonly vcpus: number;
  /** What `verify` finds, with its offset. */
  readonly findings: ReadonlySet<string>;
}

const known = new WeakMap<Uint8Array, Known>();
const digestOf = (page: Uint8Array): string => crypto.createHash("sha1").update(page).digest("base64");

async function* pagesOf(guest: GuestImage): AsyncIterable<readonly [gpa: number, page: Uint8Array]> {
  const page = new Uint8Array(PAGE);
  let last = 0;
  for (const { start, end, presence } of guest.memory.ranges()) {
    if (start < last || end <= start) throw new Violation(`a range from ${start} to ${end} after ${last}`);
    last = end;
    if (presence === "absent") continue;
    for (let gpa = start; gpa + PAGE <= end; gpa += PAGE) {
      let n = 0;
      try {
        n = await guest.memory.read(gpa, page);
      } catch (error) {
        // contents that don't unpack are not given
        if (!(error instanceof GuestscopeError)) throw error;
      }
      if (n === PAGE) yield [gpa, page];
    }
  }
}

/** Reads an undamaged input, once. */
export async function knownOf(bytes: Uint8Array): Promise<Known> {
  const before = known.get(bytes);
  if (before !== undefined) return before;
  const guest = await openGuest(bytesSource(bytes, "whole"), { findKernel: false });
  const pages = new Map<number, string>();
  const places = new Map<number, number>();
  const digests = new Set<string>();
  for await (const [gpa, page] of pagesOf(guest)) {
    const digest = digestOf(page);
    pages.set(gpa, digest);
    if (page.every((byte) => byte === page[0])) continue;
    digests.add(digest);
    const place = guest.memory.contiguous?.(gpa, PAGE);
    // of an input within another it is an offset in that
    const isHere =
      place !== undefined &&
      place.length >= PAGE &&
      Buffer.compare(bytes.subarray(place.offset, place.offset + PAGE), page) === 0;
    if (isHere) places.set(gpa, place.offset);
  }
  await guest.close?.();
  const { report } = await verify(bytesSource(bytes, "whole"));
  const all: Known = {
    format: (await detectFormat(bytesSource(bytes))).format.id,
    pages,
    places,
    digests,
    origin: guest.facts.origin,
    arch: guest.arch.name,
    guestType: guest.facts.guestType,
    vcpus: guest.vcpus.length,
    findings: new Set(report.findings.map(({ code, offset }) => `${code} ${offset}`)),
  };
  known.set(bytes, all);
  return all;
}

/** Reads a damaged input and holds what must be. Returns what came of it. @throws Violation */
export async function holdRescue(
  whole: Uint8Array,
  damage: Damage,
): Promise<{ readonly guest: GuestImage | undefined; readonly outcome: string }> {
  const about = await knownOf(whole);
  let guest: GuestImage;
  try {
    guest = await openGuest(bytesSource(damage.bytes, "damaged"), { partial: true, findKernel: false });
  } catch (error) {
    if (error instanceof GuestscopeError) return { guest: undefined, outcome: `refused ${error.code}` };
    throw new Violation(`${damage.where}: ${(error as Error)?.stack ?? String(error)}`);
  }
  const { rescue = { lost: [], doubtful: [] } } = guest;
  const { doubtful, lost } = rescue;
  const right = new Set<number>();
  const wrong: number[] = [];
  for await (const [at, page] of pagesOf(guest)) {
    const digest = digestOf(page);
    const before = about.pages.get(at);
    if (before === digest) right.add(at);
    else if (before !== undefined && !doubtful.some((part) => at >= part.start && at < part.end)) {
      if (!isHit(about, damage, at, digest)) wrong.push(at);
    }
  }
  await guest.close?.();
  const most = damage.size <= SMALL ? 2 : 0;
  if (wrong.length > most && !(await isUnknowable(about, damage, wrong))) {
    const list = wrong.slice(0, 8).map((at) => `0x${at.toString(16)}`);
    throw new Violation(`${damage.where}: ${wrong.length} pages are others' or older: ${list.join(" ")}`);
  }
  const [wanted, got] = recovered(about, damage, right);
  if (got < LEAST_RECOVERED * wanted)
    throw new Violation(`${damage.where}: ${got} of ${wanted} pages are recovered`);
  if (lost.some(({ what }) => !UNRULED.has(what)) || doubtful.length > 0) await isReported(about, damage);
  const state = `${lost.length > 0 ? "lost" : "whole"}${doubtful.length > 0 ? " doubtful" : ""}`;
  return { guest, outcome: `${damage.kind} ${state}` };
}

/** Whether a page that is another than it was has its bytes in the damage; a packed one must not be another page's. */
function isHit(
  { places, digests }: Known,
  { start, end, kind }: Damage,
  at: number,
  digest: string,
): boolean {
  const place = places.get(at);
  // packed bytes of another page in a page's place unpack to that
  return place === undefined
    ? kind === "other bytes" || !digests.has(digest)
    : place < Math.max(end, start + 1) && place + PAGE > start;
}

/**
 * Whether nothing can show that bytes are missing: contents reach to the end of the file, which looks cut then, or records of a
 * legacy stream are taken for them, and nothing is wrong with what is left. Of a kdump pages that are stored as they are
 * come shifted.
 */
async function isUnknowable(
  { format, places }: Known,
  { kind, start, bytes }: Damage,
  wrong: readonly number[],
): Promise<boolean> {
  if (kind !== "missing") return false;
  if (format === "kdump") return true;
  if (format === "xen-legacy") return (await verify(bytesSource(bytes, "damaged"))).report.valid;
  const after = wrong.every((gpa) => (places.get(gpa) ?? 0) + PAGE > start);
  return (format === "lime" || format === "elf-vmcore") && after;
}

/**
 * Pages that a damage doesn't touch, and how many of them were given right. Those whose record may have begun in it don't
 * count, and none where it hits a table that all pages are found by.
 */
function recovered(
  { places, format }: Known,
  { start, end, kind, size }: Damage,
  right: ReadonlySet<number>,
): readonly [wanted: number, got: number] {
  const isShifted = kind === "missing" || kind === "inserted";
  const isStream = STREAMS.has(format);
  if (isShifted && !isStream) return [0, 0];
  const reach = isStream ? RECORD_REACH : 0;
  const last = Math.max(end, start + 1);
  const from = isShifted ? start - RECORD_REACH : start;
  let covered = 0;
  let [wanted, got] = [0, 0];
  let first = Number.POSITIVE_INFINITY;
  for (const [gpa, place] of places) {
    covered += Math.max(0, Math.min(last, place + PAGE) - Math.max(start, place));
    first = Math.min(first, place);
    if (place + PAGE > from && place < last + reach) continue;
    wanted += 1;
    if (right.has(gpa)) got += 1;
  }
  // heads and tables have targets and tests of their own
  const isTable = isStream ? start < first : covered < size;
  return isTable ? [0, 0] : [wanted, got];
}

const STREAMS: ReadonlySet<string> = new Set(["xen-stream", "xen-legacy"]);

async function isReported(about: Known, { bytes, where }: Damage): Promise<void> {
  const { report } = await verify(bytesSource(bytes, "damaged"));
  const isNew = report.findings.some(({ code, offset }) => !about.findings.has(`${code} ${offset}`));
  if (!isNew) throw new Violation(`${where}: verify finds nothing wrong`);
}
