import { execFileSync } from "node:child_process";
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { viewOf } from "../src/binary/layout.js";
import { GuestscopeError } from "../src/findings/errors.js";
import { bytesSource } from "../src/io/byte-source.js";
import type { GuestImage } from "../src/guest/image.js";
import { openGuest } from "../src/open/open.js";
import { OUTPUTS } from "../src/open/outputs.js";
import { LIBXC_RECORD } from "../src/xen/libxc/layout.js";
import { XenStream } from "../src/xen/stream/read.js";
import { StrictDiagnostics } from "../src/findings/diagnostics.js";
import { sharedData } from "../test/shared.js";
import { MemoryFile } from "../test/vmcore/model.js";
import { Violation } from "./checks.js";
import type { Random } from "./random.js";
import { fixture, type Inputs } from "./seeds.js";
import type { Target } from "./targets.js";

/*
 * One damage in a real input: a page that is given and differs from the undamaged input's lies in the damage, or is
 * doubtful.
 */

const PAGE = 4096;
const MOST_DAMAGE = 20;
/** Bytes of damage that may leave an entry plausible: it names another page, and nothing shows it. */
const SMALL = 16;

const unpacked = (file: string): Uint8Array | undefined =>
  fs.existsSync(file)
    ? Uint8Array.from(execFileSync("zstd", ["-q", "-d", "-c", "--long=27", file], { maxBuffer: 1 << 28 }))
    : undefined;

/** A live stream without its batches of no contents, and with two of its passes: it is read in no time. */
async function shortened(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new XenStream(bytesSource(bytes), new StrictDiagnostics("live"));
  const parts: Uint8Array[] = [];
  let at = 0;
  let last = -1;
  let pass = 0;
  for await (const item of stream.items()) {
    if (item.kind !== "record" || item.type !== LIBXC_RECORD.PAGE_DATA || item.layer !== "libxc") continue;
    const view = viewOf(bytes);
    const first = view.getUint32(item.bodyOffset + 8, true);
    if (first <= last) pass += 1;
    last = first;
    const isKept = first < 2048 && (pass < 2 || pass === 5);
    parts.push(bytes.subarray(at, isKept ? item.bodyOffset : item.offset));
    at = isKept ? item.bodyOffset : item.bodyOffset + item.length + (-item.length & 7);
  }
  return Uint8Array.from(Buffer.concat([...parts, bytes.subarray(at)]));
}

/** What another format makes of a guest. */
async function written(id: string, bytes: Uint8Array): Promise<Uint8Array> {
  const guest = await openGuest(bytesSource(bytes));
  const output = OUTPUTS.find((one) => one.id === id);
  const file = new MemoryFile();
  await (await output?.load({}))?.write(guest, file, {});
  return file.bytes();
}

async function seeds(): Promise<Inputs> {
  const shared = (...name: readonly string[]): Uint8Array | undefined =>
    unpacked(path.join(sharedData, ...name));
  const live = shared("xen-v3", "hvm64-live.stream.zst");
  const tiny = shared("qemu-migration", "tiny-pc2", "stream.qevm.zst");
  const inputs: Record<string, Uint8Array | undefined> = {
    "legacy-pv64-live": fixture("xen-legacy", "pv64-live.legacy.gz"),
    "legacy-hvm64-live": fixture("xen-legacy", "hvm64-live.legacy.gz"),
    "legacy-hvm64-params": fixture("xen-legacy", "hvm64-params.legacy.gz"),
    "xen-pv64": shared("xen-v3", "pv64.save.zst"),
    "xen-live": live && (await shortened(live)),
    "qemu-pc2": tiny,
    "qemu-numa": shared("qemu-migration", "tiny-numa", "stream.qevm.zst"),
    "qemu-live": shared("qemu-migration", "tiny-live", "stream.qevm.zst"),
    "kdump-flattened": fixture("vmcore", "tiny-split.lzo.flat.gz"),
    kdump: tiny && (await written("kdump", tiny)),
    lime: tiny && (await written("lime", tiny)),
  };
  return Object.fromEntries(
    Object.entries(inputs).flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes]])),
  );
}

interface Known {
  /** Digest of each page, by its address. */
  readonly pages: ReadonlyMap<number, string>;
  /** Where its contents are in the input, where they are there as they are. */
  readonly places: ReadonlyMap<number, number>;
  /** Digests of all pages that aren't one byte over and over. */
  readonly digests: ReadonlySet<string>;
}

const known = new WeakMap<Uint8Array, Known>();
const digestOf = (page: Uint8Array): string => crypto.createHash("sha1").update(page).digest("base64");

async function* pagesOf(guest: GuestImage): AsyncIterable<readonly [gpa: number, page: Uint8Array]> {
  const page = new Uint8Array(PAGE);
  for (const { start, end, presence } of guest.memory.ranges()) {
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

async function knownOf(bytes: Uint8Array): Promise<Known> {
  const before = known.get(bytes);
  if (before !== undefined) return before;
  const guest = await openGuest(bytesSource(bytes, "whole"), { findKernel: false });
  const pages = new Map<number, string>();
  const places = new Map<number, number>();
  const digests = new Set<string>();
  for await (const [gpa, page] of pagesOf(guest)) {
    const digest = digestOf(page);
    pages.set(gpa, digest);
    if (page.some((byte) => byte !== page[0])) digests.add(digest);
    const place = guest.memory.contiguous?.(gpa, PAGE);
    if (place !== undefined && place.length >= PAGE) places.set(gpa, place.offset);
  }
  await guest.close?.();
  const all = { pages, places, digests };
  known.set(bytes, all);
  return all;
}

const KINDS = ["noise", "zeros", "ones", "other bytes", "missing", "inserted"] as const;

async function run(bytes: Uint8Array, random: Random): Promise<string> {
  const { pages, places, digests } = await knownOf(bytes);
  const kind = random.pick(KINDS) ?? "noise";
  const size = Math.min(Math.ceil(2 ** (random.below(MOST_DAMAGE * 16 + 1) / 16)), bytes.length >> 1);
  // half of them are near what leads to pages
  const [gpa] = random.oneIn(2) ? [random.pick([...places.keys()])] : [];
  const near =
    gpa === undefined ? random.below(bytes.length - size) : (places.get(gpa) ?? 0) - random.below(64);
  const start = Math.max(0, Math.min(near, bytes.length - size));
  const end = start + size;
  const noise = Buffer.alloc(kind === "noise" || kind === "inserted" ? size : 0);
  for (let at = 0; at < noise.length; at += 1) noise[at] = random.next();
  const from = random.below(bytes.length - size);
  const between: Record<(typeof KINDS)[number], Uint8Array> = {
    noise,
    zeros: Buffer.alloc(size),
    ones: Buffer.alloc(size, 0xff),
    "other bytes": bytes.subarray(from, from + size),
    missing: Buffer.alloc(0),
    inserted: noise,
  };
  const after = kind === "inserted" ? start : end;
  const damaged = Buffer.concat([bytes.subarray(0, start), between[kind], bytes.subarray(after)]);
  const where = `${kind} from 0x${start.toString(16)} to 0x${end.toString(16)} (other bytes: from 0x${from.toString(16)})`;
  let guest: GuestImage;
  try {
    guest = await openGuest(bytesSource(damaged, "damaged"), { partial: true, findKernel: false });
  } catch (error) {
    if (error instanceof GuestscopeError) return `refused ${error.code}`;
    throw new Violation(`${where}: ${(error as Error)?.stack ?? String(error)}`);
  }
  const doubtful = guest.rescue?.doubtful ?? [];
  const wrong: number[] = [];
  const isLime = guest.facts.origin.startsWith("LiME");
  const firstHit = [...places].find(([, at]) => at + PAGE > start)?.[0] ?? 0;
  for await (const [at, page] of pagesOf(guest)) {
    const digest = digestOf(page);
    const right = pages.get(at);
    if (right === digest || right === undefined) continue;
    if (doubtful.some((part) => at >= part.start && at < part.end)) continue;
    const place = places.get(at);
    // a LiME dump that lacks bytes of its last range can't be told from one that was cut
    if (kind === "missing" && isLime && at > firstHit) continue;
    const isHit =
      place === undefined ? !digests.has(digest) : place < Math.max(after, start + 1) && place + PAGE > start;
    if (!isHit) wrong.push(at);
  }
  const lost = guest.rescue?.lost.length ?? 0;
  await guest.close?.();
  const most = size <= SMALL ? 2 : 0;
  if (wrong.length > most) {
    const list = wrong.slice(0, 8).map((at) => `0x${at.toString(16)}`);
    throw new Violation(`${where}: ${wrong.length} pages are others' or older: ${list.join(" ")}`);
  }
  return `${kind} ${lost > 0 ? "lost" : "whole"} ${doubtful.length > 0 ? "doubtful" : ""}`;
}

/** Real inputs with one damage. */
export const resync: Target = { name: "resync", seeds, run, isWhole: true };
