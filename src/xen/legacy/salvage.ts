import { appendTo } from "../../binary/arrays.js";
import { viewOf } from "../../binary/layout.js";
import { FormatError } from "../../findings/errors.js";
import { Report } from "../../findings/report.js";
import {
  type LostPart,
  offsetWithout,
  type Patch,
  patchedSource,
  type Resumption,
  Resynchronizer,
  type Salvage,
  withoutParts,
} from "../../guest/salvage.js";
import { SentPasses, type StalePages } from "../../guest/sent-passes.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { beginsAsHvmContext } from "../hvm-context/check.js";
import { saveDescriptor } from "../hvm-context/layout.js";
import { outOfOrder } from "../page-order.js";
import { recount, repair, type Repair } from "./batch-repair.js";
import { ChunkWalk, type LegacyForm, pfnsOf, PROVING, type WalkedChunk } from "./chunk-walk.js";
import type { HeaderChunk } from "./chunks.js";
import { FrameCheck } from "./frame-check.js";
import { findLegacyHead, type LegacyHead } from "./head.js";
import type { Claims } from "./header.js";
import { CHUNK, PAGE, PARAMETER_CHUNKS } from "./layout.js";
import { vcpuSizeOf } from "./pv-tail.js";
import { LegacyReader } from "./read.js";
import { LEGACY_RULES } from "./rules.js";
import { configInHeader } from "../xl/config.js";
import { xlHeader, xlOptionalData } from "../xl/layout.js";

/*
 * What is damaged is cut out between two chunks, and the ordinary reader goes over the joint.
 */

const MOST_PARTS = 10_000;
/** Pages by which entries in the right order can be wrong about their number. */
const MOST_MISCOUNTED = 4;

/** How far a stream can be read as it is. */
interface Reading {
  /**
   * What its head says, when salvage can help it: undefined after a complete checkpoint that others follow, for then that
   * one is the state to take.
   */
  readonly form: LegacyForm | undefined;
  /** Undefined where its head can't be read. */
  readonly header: HeaderChunk | undefined;
  /** Whether nothing of it may come of a damaged head. */
  readonly isClean: boolean;
}

/** Reads a stream as far as it can be read, with what is known of it where its head is damaged. */
async function readThrough(input: ByteSource, options: Claims & { head?: LegacyHead }): Promise<Reading> {
  const report = new Report(input.name);
  const reader = new LegacyReader(input, { ...options, diagnostics: report });
  let header: HeaderChunk | undefined;
  let form: LegacyForm | undefined;
  let whole: LegacyForm | undefined;
  let checkpoints = 0;
  let isReadable = true;
  let [hasPages, isStopped, hasFrames, hasConfig] = [false, false, true, true];
  const frames = new FrameCheck();
  const settled = (): Reading => ({ form: undefined, header, isClean: hasFrames && hasConfig });
  try {
    for await (const chunk of reader.chunks()) {
      if (checkpoints > 0 && chunk.kind === "pages") return settled();
      hasPages ||= chunk.kind === "pages";
      isStopped ||= chunk.kind === "tsc-info" && !hasPages;
      frames.take(chunk);
      if (chunk.kind === "xl-header") hasConfig = hasConfigText(chunk.bytes);
      if (chunk.kind === "checkpoint") hasFrames &&= frames.areNormal();
      // zeros look like a body's end: a tail that breaks rules ends no checkpoint
      if (chunk.kind === "checkpoint" && !chunk.last && isWithoutErrors(report)) checkpoints += 1;
      if (chunk.kind === "header") header = chunk;
      if (chunk.kind === "header")
        form = {
          first: 0,
          ulongSize: reader.cursor.ulongSize,
          isHvm: chunk.guest === "hvm",
          p2mSize: chunk.p2mSize,
          vcpuSize: 1,
          isReadable,
          isStopped,
        };
      // and a guest's tail among which no context begins is none
      if (chunk.kind === "hvm-tail" && !(await isContext(input, chunk.dataOffset))) {
        isReadable = false;
        break;
      }
      if (form === undefined || whole !== undefined) continue;
      if (form.isHvm === true) whole = { ...form, first: reader.cursor.position };
      else if (chunk.kind === "pv-info")
        whole = { ...form, vcpuSize: vcpuSizeOf(chunk), first: reader.cursor.position };
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (checkpoints > 0) return settled();
    isReadable = false;
  }
  const isClean =
    isReadable &&
    hasFrames &&
    hasConfig &&
    isWithoutErrors(report) &&
    report.findings.every(({ code }) => code !== LEGACY_RULES.extendedBlock.code);
  return {
    header: whole && header,
    form: whole && { ...whole, isStopped, isReadable: isReadable && isWithoutErrors(report) },
    isClean,
  };
}

/** Whether an xl header has text where it says that a configuration is: zeros are none. */
function hasConfigText(header: Uint8Array): boolean {
  return header.length <= xlHeader.size + xlOptionalData.size + 1 || configInHeader(header) !== "";
}

/** Whether an HVM context begins at an offset: with its header's entry. */
async function isContext(input: ByteSource, offset: number): Promise<boolean> {
  const bytes = new Uint8Array(saveDescriptor.size);
  return beginsAsHvmContext(bytes.subarray(0, await readFully(input, offset, bytes)));
}

const isWithoutErrors = ({ findings }: Report): boolean =>
  findings.every(({ severity }) => severity !== "error");

/** A salvaged stream, and what of it is doubtful; offsets as in the salvaged stream. */
export interface LegacySalvage extends Salvage {
  /** What is known of a head that is damaged; undefined: it isn't. */
  readonly head?: LegacyHead;
  /** Pages that a lost part may have held newer copies of. */
  readonly stale: readonly StalePages[];
  /** Batches that may have got bytes that aren't their own, ascending. */
  readonly shifted: readonly { readonly start: number; readonly end: number }[];
}

/**
 * A stream with its damage cut out: what is lost lies between two chunks, or is entries of a batch with their pages.
 * @returns undefined where nothing is damaged, or nothing can be found after the damage and memory before it is the last;
 *   no lost part where the input ends within memory
 */
async function salvageLegacy(input: ByteSource, form: LegacyForm): Promise<LegacySalvage | undefined> {
  const walk = new ChunkWalk(input, form);
  const finderOf = (step: number): Resynchronizer =>
    new Resynchronizer(input, {
      step,
      head: 20,
      isLikely: (view, at) => walk.isLikely(view, at),
      proof: (offset) => walk.proof(offset),
    });
  // sizes of chunks are multiples of four bytes, but for names in a toolstack chunk and where bytes are missing
  const [aligned, anywhere] = [finderOf(4), finderOf(1)];
  const resume = async (from: number): Promise<Resumption | undefined> => {
    const found = await aligned.resume(from);
    // one that is in step may come long after those that missing bytes moved
    const nearer = await anywhere.resume(from, found?.at);
    return nearer !== undefined && nearer.proof >= (found?.proof ?? 0) ? nearer : found;
  };
  const lost: LostPart[] = [];
  const patches: Patch[] = [];
  const passes = new SentPasses();
  /** The last batch, until what follows it proves its contents: its pages in order, and where it is. */
  let sent: { readonly pfns: Float64Array; readonly at: number } | undefined;
  const note = (next?: typeof sent): void => {
    const first = sent?.pfns[0];
    if (sent !== undefined && first !== undefined) passes.note(first, sent.pfns.at(-1) ?? first, sent.at);
    sent = next;
  };
  const use = ({ cuts, patch, stale }: Repair): void => {
    appendTo(lost, cuts);
    patches.push(patch);
    note();
    for (const [from, to] of stale) passes.loseWithin(from, to, patch.offset);
  };
  /** A part that is lost whole may have sent the pages between the batches around it. */
  const lose = (part: LostPart): void => {
    lost.push(part);
    note();
    passes.lose(part.start, part.end - part.start);
  };
  /** The last batch: what follows it proves its contents. */
  let open: { readonly at: number; readonly chunk: WalkedChunk & { kind: "batch" } } | undefined;
  let end = form.first;
  /** Whether memory's end was reached, or what isn't known here. */
  let isEnded = false;
  for (let at = form.first; lost.length + patches.length < MOST_PARTS; ) {
    end = at;
    const chunk = await walk.chunk(at);
    isEnded = chunk?.kind === "end" || chunk?.kind === "coded";
    if (isEnded) break;
    if (chunk !== undefined && chunk.next <= input.size) {
      if (chunk.kind === "batch") {
        const isRight = outOfOrder(pfnsOf(chunk.entries)).length === 0;
        // entries in the wrong order have the right number of pages
        const better = repair(at, chunk.next, chunk, form.ulongSize, 1);
        if (better !== undefined && (await walk.proof(chunk.next)) > 0) use(better);
        else if (!isRight)
          lose({ start: at, end: chunk.next, proof: 1, what: "a batch whose entries are damaged" });
        else note({ pfns: pfnsOf(chunk.entries).filter((pfn) => pfn >= 0), at });
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
    // entries in the right order prove their batch, and the one before: the input ends within it, unless an HVM guest's
    // tail is found there, which proves itself
    const isCut = chunk?.kind === "batch" && outOfOrder(pfnsOf(chunk.entries)).length === 0;
    if (isCut && (found === undefined || (!form.isHvm && chunk.next - found.at > MOST_MISCOUNTED * PAGE)))
      break;
    if (found === undefined) {
      // nothing proves where the last batch ends, unless the input ends within it
      if (open !== undefined && at + 4 < input.size) {
        sent = undefined;
        lose({
          start: open.at,
          end: input.size,
          proof: 0,
          what: "a batch that nothing proves the end of",
        });
      }
      break;
    }
    // the last batch may go up to there: its count is what is damaged
    const recounted = open === undefined ? undefined : await recount(walk, open.at, found.at, form.ulongSize);
    if (recounted !== undefined) {
      sent = undefined;
      use(recounted);
    } else if (found.at < at && open !== undefined) {
      // bytes are missing among its contents: which of its pages are whole can't be told
      sent = undefined;
      lose({
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
      const before = open === undefined ? {} : { doubtfulFrom: open.at };
      if (better === undefined) lose({ start: at, end: found.at, proof: found.proof, ...before });
      else use(better);
    }
    open = undefined;
    at = found.at;
  }
  note();
  // newer copies may have come where the input lacks the end of memory
  const isCut = !isEnded && !form.isReadable && !(await isAfterMemory(input, end));
  if (isCut) passes.lose(input.size, 0);
  const stale = passes.stale(end, !form.isStopped);
  if (lost.length + patches.length + stale.length === 0) return undefined;
  const ascending = lost.toSorted((a, b) => a.start - b.start);
  const offsetOf = offsetWithout(ascending);
  return {
    source: withoutParts(patchedSource(input, patches), lost),
    lost: ascending,
    stale: stale.map(({ from, to, at }) => ({ from, to, at: offsetOf(at) })),
    shifted: ascending.flatMap(({ start, doubtfulFrom }) =>
      doubtfulFrom === undefined ? [] : [{ start: offsetOf(doubtfulFrom), end: offsetOf(start) }],
    ),
  };
}

/** Whether state begins at an offset, or the end of a body, though the input ends within it. */
async function isAfterMemory(input: ByteSource, offset: number): Promise<boolean> {
  const bytes = new Uint8Array(LOOKED_AT);
  const n = await readFully(input, offset, bytes);
  if (n < 4) return false;
  const id = viewOf(bytes).getInt32(0, true);
  // zeros to the end are no end of a body
  return id === CHUNK.endOfBody ? bytes.some((byte) => byte !== 0) : STATES.has(id);
}

/** Chunks that come after memory. */
const STATES: ReadonlySet<number> = new Set([
  CHUNK.verifyMode,
  CHUNK.vcpuInfo,
  CHUNK.tscInfo,
  CHUNK.lastCheckpoint,
  CHUNK.toolstack,
  ...PARAMETER_CHUNKS.keys(),
]);
/** Bytes of a tail that are looked at. */
const LOOKED_AT = 64;

/** A stream with its damage cut out, and what is known of its head; undefined where there is none, or nothing to go on with. */
export async function salvageOf(input: ByteSource, claims: Claims = {}): Promise<LegacySalvage | undefined> {
  const stated = await readThrough(input, claimsOf(claims));
  const head = stated.isClean ? undefined : await findLegacyHead(input, stated.header);
  // chunks that go on before those that prove themselves leave nothing of them to the head
  const isOwn = head !== undefined && stated.form !== undefined && head.first > stated.form.first;
  if (head === undefined || (isOwn && (await beginsWithBatch(input, stated.form))))
    return stated.form && salvageLegacy(input, stated.form);
  const { form } = await readThrough(input, { head });
  const known = form && {
    ...form,
    isHvm: head.guest === undefined ? undefined : form.isHvm,
    vcpuSize: head.isTailKnown ? form.vcpuSize : undefined,
  };
  const body = (known && (await salvageLegacy(input, known))) ?? {
    source: input,
    lost: [],
    stale: [],
    shifted: [],
  };
  return { ...body, lost: [...head.lost, ...body.lost], head };
}

/** Whether the first chunk is where a stream's head says: a batch whose entries are in order, and another chunk after it. */
async function beginsWithBatch(input: ByteSource, form: LegacyForm): Promise<boolean> {
  const walk = new ChunkWalk(input, form);
  const first = await walk.chunk(form.first);
  // the TSC's state comes before memory of a guest that was stopped
  const chunk = first?.kind === "state" ? await walk.chunk(first.next) : first;
  if (chunk?.kind !== "batch" || chunk.entries.length < PROVING || chunk.next > input.size) return false;
  return outOfOrder(pfnsOf(chunk.entries)).length === 0;
}

/** What is claimed of a stream, without what else options hold. */
function claimsOf({ width, guest, xlHeader, widthIsGuess }: Claims): Claims {
  return {
    ...(width === undefined ? {} : { width }),
    ...(guest === undefined ? {} : { guest }),
    ...(xlHeader === undefined ? {} : { xlHeader }),
    ...(widthIsGuess === undefined ? {} : { widthIsGuess }),
  };
}
