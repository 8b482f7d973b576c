// over 350 lines: one walk over damaged chunks: what proves them, what makes a batch good again
import { appendTo } from "../../binary/arrays.js";
import { latin1, viewOf } from "../../binary/layout.js";
import {
  type LostPart,
  type Patch,
  patchedSource,
  type Resumption,
  Resynchronizer,
  type Salvage,
  withoutParts,
} from "../../guest/salvage.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { NO_PFN, outOfOrder, WRONG_PFN } from "../page-order.js";
import {
  BATCH_LIMIT,
  CHUNK,
  hasData,
  PAGE,
  PARAMETER_CHUNKS,
  QEMU_SIGNATURE_SIZE,
  QEMU_SIGNATURES,
  TSC_INFO,
  TYPE,
  VCPU_EXTENDED,
  XSAVE_PREFIX,
} from "./layout.js";
import { FormatError } from "../../findings/errors.js";
import { Report } from "../../findings/report.js";
import type { Claims } from "./header.js";
import { LegacyReader } from "./read.js";

/*
 * Chunks follow one another without marks and in any order: what is damaged is cut out between two of them, and the
 * ordinary reader goes over the joint. A batch of pages proves itself by its entries: pfns within the guest, ascending.
 */

/** Chunks in a row that are checked after a lost part. */
const PROOF = 3;
/** Chunks of state that follow the last batch. */
const MOST_STATE = 64;
const MOST_PARTS = 10_000;
/** Ranges of pages that may be out of date. */
const MOST_STALE = 10_000;
/** Pages by which entries in the right order can be wrong about their number. */
const MOST_MISCOUNTED = 4;
/** Pages from which on a batch proves itself. */
const PROVING = 4;
/** Bytes of a toolstack chunk: a real one has a few hundred. */
const MOST_TOOLSTACK = 1 << 20;
const MOST_CONTEXT = 1 << 24;
/** No machine has frames from 2^40 on: of that the upper word's share. */
const PFN_HIGH_LIMIT = 0x100;
/** Bytes of the pfns in the tail of an HVM stream, and of the length after them. */
const HVM_TAIL_SIZE = 28;
const MAX_VCPU = 4095;
/** vCPUs of a PV guest: no real one has more. */
const MOST_VCPUS = 512;

/** What a stream's header says. */
interface LegacyForm {
  /** Offset of the first chunk. */
  readonly first: number;
  readonly ulongSize: 4 | 8;
  readonly isHvm: boolean;
  readonly p2mSize: number;
  /** Bytes of a vCPU's state in the tail of a PV stream. */
  readonly vcpuSize: number;
  /** The ordinary reader goes through to the end: only entries of batches can be damaged. */
  readonly isReadable: boolean;
}

/**
 * What the headers of a stream say, when salvage can help it: undefined after a complete checkpoint that others follow,
 * for then that one is the state to take.
 * @throws FormatError in the headers
 */
async function legacyForm(reader: LegacyReader): Promise<LegacyForm | undefined> {
  let form: LegacyForm | undefined;
  let whole: LegacyForm | undefined;
  let checkpoints = 0;
  let isReadable = true;
  try {
    for await (const chunk of reader.chunks()) {
      if (checkpoints > 0 && chunk.kind === "pages") return undefined;
      if (chunk.kind === "checkpoint" && !chunk.last) checkpoints += 1;
      if (chunk.kind === "header")
        form = {
          first: 0,
          ulongSize: reader.cursor.ulongSize,
          isHvm: chunk.guest === "hvm",
          p2mSize: chunk.p2mSize,
          vcpuSize: 1,
          isReadable,
        };
      if (form === undefined || whole !== undefined) continue;
      if (form.isHvm) whole = { ...form, first: reader.cursor.position };
      else if (chunk.kind === "pv-info") {
        const { contextSize, extended, xsaveSize } = chunk;
        const xsave = xsaveSize === undefined ? 0 : XSAVE_PREFIX.size + xsaveSize;
        const vcpuSize = contextSize + (extended ? VCPU_EXTENDED : 0) + xsave;
        whole = { ...form, vcpuSize, first: reader.cursor.position };
      }
    }
  } catch (error) {
    if (whole === undefined || !(error instanceof FormatError)) throw error;
    if (checkpoints > 0) return undefined;
    isReadable = false;
  }
  return whole && { ...whole, isReadable };
}

type Chunk =
  | {
      readonly kind: "batch";
      readonly next: number;
      readonly entries: Uint32Array;
      readonly contents: number;
    }
  | { readonly kind: "state" | "end" | "coded"; readonly next: number };

class Walk {
  readonly #input: ByteSource;
  readonly #form: LegacyForm;
  readonly #head = new Uint8Array(32);

  constructor(input: ByteSource, form: LegacyForm) {
    this.#input = input;
    this.#form = form;
  }

  /** The chunk at an offset; undefined: none that can be right. @param lenient entries of a batch may be wrong */
  async chunk(at: number, lenient = false): Promise<Chunk | undefined> {
    const n = await readFully(this.#input, at, this.#head);
    if (n < 4) return undefined;
    const view = viewOf(this.#head);
    const id = view.getInt32(0, true);
    if (id > 0) return this.batch(at, id, lenient);
    const state = (length: number): Chunk | undefined => {
      const next = at + 4 + length;
      return next <= this.#input.size ? { kind: "state", next } : undefined;
    };
    if (id === CHUNK.endOfBody)
      return (await this.#isTail(at + 4)) ? { kind: "end", next: at + 4 } : undefined;
    if (PARAMETER_CHUNKS.has(id)) return view.getUint32(4, true) === 0 ? state(12) : undefined;
    switch (id) {
      case CHUNK.verifyMode:
      case CHUNK.lastCheckpoint:
        return state(0);
      case CHUNK.vcpuInfo: {
        const highest = view.getInt32(4, true);
        return highest >= 0 && highest <= MAX_VCPU
          ? state(4 + 8 * (Math.floor(highest / 64) + 1))
          : undefined;
      }
      case CHUNK.tscInfo:
        return view.getUint32(4, true) < 4 ? state(TSC_INFO.size) : undefined;
      case CHUNK.toolstack: {
        const length = view.getUint32(4, true);
        return length <= MOST_TOOLSTACK ? state(4 + length) : undefined;
      }
      case CHUNK.enableCompression:
      case CHUNK.compressedData:
        return { kind: "coded", next: at };
      default:
        return undefined;
    }
  }

  /** The batch at an offset, of `count` entries. */
  async batch(at: number, count: number, lenient: boolean): Promise<Chunk | undefined> {
    const { ulongSize, p2mSize } = this.#form;
    if (count > BATCH_LIMIT) return undefined;
    const bytes = new Uint8Array(count * ulongSize);
    if ((await readFully(this.#input, at + 4, bytes)) < bytes.length) return undefined;
    const view = viewOf(bytes);
    const entries = new Uint32Array(count);
    let pages = 0;
    for (let i = 0; i < count; i += 1) {
      const entry = view.getUint32(i * ulongSize, true);
      const high = ulongSize === 8 ? view.getUint32(i * ulongSize + 4, true) : 0;
      const type = entry >>> 28;
      // an HVM guest's pages are of no page table type
      const isType = this.#form.isHvm
        ? type === TYPE.normal || type >= TYPE.broken
        : hasData(type) || type >= TYPE.broken;
      const isRight = high === 0 && isType && (entry & 0x0fff_ffff) < p2mSize;
      if (!isRight && !lenient) return undefined;
      entries[i] = isRight ? entry : WRONG;
      if (isRight && hasData(type)) pages += 1;
    }
    const contents = at + 4 + bytes.length;
    return { kind: "batch", next: contents + pages * PAGE, entries, contents };
  }

  /** Whether the tail of a stream may be at an offset: zeros look like the end of a body. */
  async #isTail(at: number): Promise<boolean> {
    const { isHvm, p2mSize, ulongSize, vcpuSize } = this.#form;
    if (!isHvm) {
      const head = new Uint8Array(4);
      if ((await readFully(this.#input, at, head)) < head.length) return false;
      const count = viewOf(head).getUint32(0, true);
      const vcpus = (this.#input.size - (at + 4 + count * ulongSize + PAGE)) / vcpuSize;
      if (count > p2mSize || vcpus < 1 || vcpus > MOST_VCPUS || !Number.isInteger(vcpus)) return false;
      const pfns = new Uint8Array(Math.min(count, BATCH_LIMIT) * ulongSize);
      await readFully(this.#input, at + 4, pfns);
      const view = viewOf(pfns);
      for (let i = 0; i < pfns.length; i += ulongSize) if (view.getUint32(i, true) >= p2mSize) return false;
      return true;
    }
    const tail = new Uint8Array(HVM_TAIL_SIZE);
    if ((await readFully(this.#input, at, tail)) < tail.length) return false;
    const view = viewOf(tail);
    for (const pfn of [0, 8, 16]) if (view.getUint32(pfn + 4, true) >= PFN_HIGH_LIMIT) return false;
    const length = view.getUint32(HVM_TAIL_SIZE - 4, true);
    const end = at + HVM_TAIL_SIZE + length;
    if (length === 0 || length > MOST_CONTEXT || end > this.#input.size) return false;
    if (end === this.#input.size) return true;
    const signature = new Uint8Array(QEMU_SIGNATURE_SIZE);
    await readFully(this.#input, end, signature);
    return QEMU_SIGNATURES.has(latin1(signature));
  }

  /** How many chunks in a row begin at a place; 0 where they prove nothing. */
  async proof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    // state alone proves nothing until the tail is reached
    for (let at = offset; count < (isProven ? PROOF : MOST_STATE); count += 1) {
      const chunk = await this.chunk(at);
      if (chunk === undefined || chunk.next > this.#input.size) return 0;
      if (chunk.kind === "end") return this.#form.isHvm || isProven || count > 0 ? count + 1 : 0;
      if (chunk.kind === "coded") return 0;
      if (chunk.kind === "batch")
        isProven ||= chunk.entries.length >= PROVING && outOfOrder(pfnsOf(chunk.entries)).length === 0;
      at = chunk.next;
    }
    return isProven ? count : 0;
  }

  isLikely(view: DataView, at: number): boolean {
    const id = view.getInt32(at, true);
    if (id > 0) {
      if (id > BATCH_LIMIT) return false;
      const { ulongSize, p2mSize } = this.#form;
      const first = view.getUint32(at + 4, true);
      const second = view.getUint32(at + 4 + ulongSize, true);
      if (ulongSize === 8 && (view.getUint32(at + 8, true) !== 0 || view.getUint32(at + 16, true) !== 0))
        return false;
      const pfn = first & 0x0fff_ffff;
      // the entries of a batch, read from one of them on: its pfn as the count, the next as the first
      if (first === id + 1) return false;
      const isAscending = id === 1 || (second & 0x0fff_ffff) > pfn || second >>> 28 === TYPE.invalid;
      return pfn < p2mSize && isAscending;
    }
    return id >= LAST_CHUNK && (id < 0 || view.getUint32(at + 4, true) !== 0);
  }
}

const LAST_CHUNK = -21;
/** An entry that can't be right. */
const WRONG = 0xffff_ffff;

/** pfns of entries, for their order. */
function pfnsOf(entries: Uint32Array): Float64Array {
  return Float64Array.from(entries, (entry) =>
    entry === WRONG ? WRONG_PFN : entry >>> 28 === TYPE.invalid ? NO_PFN : entry & 0x0fff_ffff,
  );
}

/** pfns of which a lost part may have held newer copies than those before `at`: from `from` to `to`, exclusive. */
export interface StalePages {
  readonly from: number;
  readonly to: number;
  /** Offset in the salvaged stream. */
  readonly at: number;
}

/** A salvaged stream, and pages of it that may be out of date. */
export interface LegacySalvage extends Salvage {
  readonly stale: readonly StalePages[];
}

/** A batch with entries that can't be right, made good: what is cut out of it, and its new count. */
interface Repair {
  readonly cuts: readonly LostPart[];
  readonly patch: Patch;
  /** pfns between those that are right. */
  readonly stale: readonly (readonly [from: number, to: number])[];
}

/**
 * Makes a batch good some entries of which are damaged: the pages of the others have their places as long as it is
 * known how many pages the damaged ones have.
 */
function repair(
  at: number,
  next: number,
  chunk: Chunk & { kind: "batch" },
  ulongSize: number,
  proof: number,
): Repair | undefined {
  const { entries, contents } = chunk;
  const bad = new Set(outOfOrder(pfnsOf(entries)));
  for (const [i, entry] of entries.entries()) if (entry === WRONG) bad.add(i);
  if (bad.size === 0 || bad.size === entries.length) return undefined;
  const length = next - contents;
  const isData = (i: number): boolean => hasData((entries[i] ?? WRONG) >>> 28);
  const good = Array.from(entries.keys()).filter((i) => !bad.has(i));
  const goodPages = good.filter(isData).length;
  const pages = length / PAGE;
  if (!Number.isInteger(pages) || pages < goodPages || pages > goodPages + bad.size) return undefined;
  const isKnown = pages === goodPages + bad.size || pages === goodPages;
  const badHaveData = pages > goodPages;
  let first = entries.length;
  let last = -1;
  for (const i of bad) {
    first = Math.min(first, i);
    last = Math.max(last, i);
  }
  const isOut = (i: number): boolean => (isKnown ? bad.has(i) : i >= first && i <= last);
  const cuts: LostPart[] = [];
  const cut = (start: number, end: number): void => {
    const before = cuts.at(-1);
    if (before?.end === start) cuts[cuts.length - 1] = { ...before, end };
    else if (start < end) cuts.push({ start, end, proof, what: "pages whose entries are damaged" });
  };
  for (let i = 0; i < entries.length; i += 1)
    if (isOut(i)) cut(at + 4 + i * ulongSize, at + 4 + (i + 1) * ulongSize);
  if (isKnown) {
    let page = 0;
    for (let i = 0; i < entries.length; i += 1) {
      const has = bad.has(i) ? badHaveData : isData(i);
      if (has && bad.has(i)) cut(contents + page * PAGE, contents + (page + 1) * PAGE);
      if (has) page += 1;
    }
  } else {
    const before = good.filter((i) => i < first && isData(i)).length;
    const after = good.filter((i) => i > last && isData(i)).length;
    cut(contents + before * PAGE, next - after * PAGE);
  }
  const left = Array.from(entries.keys()).filter((i) => !isOut(i));
  if (left.length === 0) return undefined;
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, left.length, true);
  const pfn = (i: number | undefined): number | undefined =>
    i === undefined ? undefined : (entries[i] ?? 0) & 0x0fff_ffff;
  const stale: (readonly [number, number])[] = [];
  for (let k = 0; k <= left.length; k += 1) {
    const [before, after] = [left[k - 1] ?? -1, left[k] ?? entries.length];
    if (after > before + 1)
      stale.push([(pfn(left[k - 1]) ?? -1) + 1, pfn(left[k]) ?? Number.POSITIVE_INFINITY]);
  }
  return { cuts, patch: { offset: at, bytes }, stale };
}

/**
 * A stream with its damage cut out: what is lost lies between two chunks, or is entries of a batch with their pages.
 * @returns undefined where nothing is damaged, or nothing can be found after the damage
 */
async function salvageLegacy(input: ByteSource, form: LegacyForm): Promise<LegacySalvage | undefined> {
  const walk = new Walk(input, form);
  const finderOf = (step: number): Resynchronizer =>
    new Resynchronizer(input, {
      step,
      head: 20,
      isLikely: (view, at) => walk.isLikely(view, at),
      proof: (offset) => walk.proof(offset),
    });
  // sizes of chunks are multiples of four bytes, but for names in a toolstack chunk and where bytes are missing
  const [aligned, anywhere] = [finderOf(4), finderOf(1)];
  const resume = async (from: number): Promise<Resumption | undefined> =>
    (await aligned.resume(from)) ?? (await anywhere.resume(from));
  const lost: LostPart[] = [];
  const patches: Patch[] = [];
  const stale: { readonly from: number; readonly to: number; readonly offset: number }[] = [];
  /** The highest pfn of the last batch: the next one goes on after it, or begins anew at a lower one. */
  let highest = -1;
  const use = ({ cuts, patch, stale: ranges }: Repair): void => {
    appendTo(lost, cuts);
    patches.push(patch);
    for (const [from, to] of ranges)
      stale.push({ from: from === 0 && to > highest ? highest + 1 : from, to, offset: patch.offset });
  };
  /** A part that is lost whole may have sent the pages between the batches around it. */
  const lose = async (part: LostPart): Promise<void> => {
    lost.push(part);
    const next = await walk.chunk(part.end);
    const first =
      next?.kind === "batch" ? (pfnsOf(next.entries).find((pfn) => pfn >= 0) ?? Infinity) : Infinity;
    const isAfter = first > highest;
    stale.push({ from: isAfter ? highest + 1 : 0, to: isAfter ? first : Infinity, offset: part.start });
  };
  /** The last batch: what follows it proves its contents. */
  let open: { readonly at: number; readonly chunk: Chunk & { kind: "batch" } } | undefined;
  for (let at = form.first; lost.length + patches.length < MOST_PARTS; ) {
    const chunk = await walk.chunk(at);
    if (chunk?.kind === "end" || chunk?.kind === "coded") break;
    if (chunk !== undefined && chunk.next <= input.size) {
      if (chunk.kind === "batch") {
        const isRight = outOfOrder(pfnsOf(chunk.entries)).length === 0;
        // entries in the wrong order have the right number of pages
        const better = repair(at, chunk.next, chunk, form.ulongSize, 1);
        if (better !== undefined && (await walk.proof(chunk.next)) > 0) use(better);
        else if (!isRight)
          await lose({ start: at, end: chunk.next, proof: 1, what: "a batch whose entries are damaged" });
        else for (const pfn of pfnsOf(chunk.entries)) highest = pfn > highest ? pfn : highest;
      }
      open = chunk.kind === "batch" ? { at, chunk } : undefined;
      at = chunk.next;
      continue;
    }
    // what the ordinary reader goes over is a chunk that isn't known here
    if (form.isReadable) return undefined;
    // a count that can't be: the one that makes chunks follow is right
    const counted = chunk === undefined ? await recount(walk, at, undefined, form.ulongSize) : undefined;
    if (counted !== undefined) {
      use(counted);
      open = undefined;
      at = counted.next;
      continue;
    }
    // entries that are whole look like batches themselves
    const damaged = await walk.chunk(at, true);
    const after = damaged?.kind === "batch" && damaged.contents <= input.size ? damaged.contents : at + 4;
    const found = await resume(open === undefined ? after : open.chunk.contents);
    // entries in the right order prove their batch, and the one before: the input ends within it
    const isCut = chunk?.kind === "batch" && outOfOrder(pfnsOf(chunk.entries)).length === 0;
    if (isCut && (found === undefined || chunk.next - found.at > MOST_MISCOUNTED * PAGE)) break;
    if (found === undefined) {
      // nothing proves where the last batch ends, unless the input ends within it
      if (open !== undefined && at + 4 < input.size)
        await lose({
          start: open.at,
          end: input.size,
          proof: 0,
          what: "a batch that nothing proves the end of",
        });
      break;
    }
    // the last batch may go up to there: its count is what is damaged
    const recounted = open === undefined ? undefined : await recount(walk, open.at, found.at, form.ulongSize);
    if (recounted !== undefined) use(recounted);
    else if (found.at < at && open !== undefined) {
      // bytes are missing among its contents: which of its pages are whole can't be told
      lost.push({
        start: open.at,
        end: found.at,
        proof: found.proof,
        what: "a batch whose contents are not all there",
      });
    } else {
      const better =
        damaged?.kind === "batch" && damaged.contents <= found.at
          ? repair(at, found.at, damaged, form.ulongSize, found.proof)
          : await recount(walk, at, found.at, form.ulongSize);
      if (better === undefined) await lose({ start: at, end: found.at, proof: found.proof });
      else use(better);
    }
    open = undefined;
    at = found.at;
  }
  if (lost.length + patches.length === 0) return undefined;
  const ascending = lost.toSorted((a, b) => a.start - b.start);
  const cutBefore = (offset: number): number =>
    ascending.reduce((sum, { start, end }) => (start < offset ? sum + end - start : sum), 0);
  return {
    source: withoutParts(patchedSource(input, patches), lost),
    lost: ascending,
    stale: stale
      .slice(0, MOST_STALE)
      .map(({ from, to, offset }) => ({ from, to, at: offset - cutBefore(offset) })),
  };
}

/** A batch whose count is damaged: the one that makes its entries right and its contents end where the next chunk begins. */
async function recount(
  walk: Walk,
  at: number,
  next: number | undefined,
  ulongSize: number,
): Promise<(Repair & { readonly next: number }) | undefined> {
  const most =
    next === undefined ? BATCH_LIMIT : Math.min(BATCH_LIMIT, Math.floor((next - at - 4) / ulongSize));
  const chunk = most <= 0 ? undefined : await walk.batch(at, most, true);
  if (chunk?.kind !== "batch") return undefined;
  let pages = 0;
  for (let count = 1; count <= most; count += 1) {
    const entry = chunk.entries[count - 1] ?? WRONG;
    if (entry === WRONG) return undefined;
    if (hasData(entry >>> 28)) pages += 1;
    const end = at + 4 + count * ulongSize + pages * PAGE;
    if (next === undefined ? count < PROVING || (await walk.proof(end)) === 0 : end !== next) continue;
    if (outOfOrder(pfnsOf(chunk.entries.subarray(0, count))).length > 0) return undefined;
    const bytes = new Uint8Array(4);
    viewOf(bytes).setUint32(0, count, true);
    return { cuts: [], patch: { offset: at, bytes }, stale: [], next: end };
  }
  return undefined;
}

/** A stream with its damage cut out; undefined where there is none, or nothing to go on with. */
export async function salvageOf(input: ByteSource, claims: Claims = {}): Promise<LegacySalvage | undefined> {
  try {
    const { width, guest, xlHeader, widthIsGuess } = claims;
    const report = new Report(input.name);
    const reader = new LegacyReader(input, {
      ...(width === undefined ? {} : { width }),
      ...(guest === undefined ? {} : { guest }),
      ...(xlHeader === undefined ? {} : { xlHeader }),
      ...(widthIsGuess === undefined ? {} : { widthIsGuess }),
      diagnostics: report,
    });
    const form = await legacyForm(reader);
    if (form === undefined) return undefined;
    const isRight = report.findings.every(({ severity }) => severity !== "error");
    return await salvageLegacy(input, { ...form, isReadable: form.isReadable && isRight });
  } catch (error) {
    // what is wrong with the headers is said by who reads them
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
