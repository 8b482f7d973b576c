import { appendTo } from "../../binary/arrays.js";
import { type ByteOrder } from "../../binary/layout.js";
import {
  type LostPart,
  offsetWithin,
  offsetWithout,
  type Patch,
  patchedSource,
  type Resumption,
  type Salvage,
  withoutParts,
} from "../../guest/salvage.js";
import { type ByteSource } from "../../io/byte-source.js";
import { LIBXC_RECORD, MAX_BODY_LENGTH, pageDataHeader, recordHeader } from "../libxc/layout.js";
import { resumeLibxl, salvageLibxl } from "./libxl-salvage.js";
import { RecordWalk } from "./record-walk.js";
import { ALIGNMENT, skipRecords } from "./skip-records.js";

/*
 * Damage inside the libxc layer is bridged by one optional record over it, which every reader skips. Records begin at
 * multiples of eight bytes from the first, so such places are looked at first; others where bytes are missing or were
 * inserted. A PAGE_DATA record proves itself: its length follows from its entries. Where none is left, records up to END
 * must have their exact forms.
 */

/** Bytes of a record's type. */
const TYPE_SIZE = 4;
/** Lost parts of one input. */
const MOST_PARTS = 10_000;

/** A stream with its damage bridged. */
export interface StreamSalvage extends Salvage {
  /** Offset after libxc's END, if it was found. */
  readonly end: number | undefined;
  /** Where an offset of the input is in `source`. */
  readonly offsetOf: (offset: number) => number;
  /** Where an offset of `source` is in the input. */
  readonly originOf: (offset: number) => number;
}

/**
 * Bridges damage in the records of a stream: those of the libxc layer, and those of libxl after them.
 * @param first offset of the first libxc record
 * @param isWrapped whether libxl is around libxc; undefined: not known
 */
export async function salvageStream(
  input: ByteSource,
  first: number,
  order: ByteOrder,
  isWrapped: boolean | undefined,
): Promise<StreamSalvage> {
  const walk = new RecordWalk(input, order);
  const [aligned, anywhere] = [walk.finder(ALIGNMENT), walk.finder(1)];
  const lost: LostPart[] = [];
  const patches: Patch[] = [];
  /** Bytes after the last optional record, less than another: they are left out. */
  const cuts: LostPart[] = [];
  /** The batch right before: it may have more or fewer bytes than its own. */
  let batch: { readonly at: number; readonly entries: number } | undefined;
  /** The last record that only its form speaks for: its length may be what is damaged. */
  let doubtful: number | undefined;
  let end: number | undefined;
  for (let at = first; lost.length < MOST_PARTS; ) {
    const header = await walk.header(at);
    if (header !== undefined && (await walk.isUntypedBatch(at, header))) {
      const proof = Math.max(2, await walk.proof(header.next));
      lost.push({ start: at, end: at + TYPE_SIZE, proof, what: "a record's type, made anew" });
      const head = recordHeader.encode({ type: LIBXC_RECORD.PAGE_DATA, bodyLength: header.length }, order);
      patches.push({ offset: at, bytes: head });
      doubtful = undefined;
      batch = { at, entries: at + recordHeader.size + pageDataHeader.size };
      at = header.next;
      continue;
    }
    const trust = header === undefined ? "none" : await walk.trust(at, header);
    if (header !== undefined && trust !== "none") {
      if (header.type === LIBXC_RECORD.END && (await walk.isEnd(header.next))) {
        end = header.next;
        break;
      }
      if (header.type !== LIBXC_RECORD.END) {
        doubtful = trust === "proven" ? undefined : at;
        batch =
          trust === "proven" ? { at, entries: at + recordHeader.size + pageDataHeader.size } : undefined;
        at = header.next;
        continue;
      }
    }
    // a batch whose entries alone are damaged: its reader leaves them out
    const isBatch = header?.type === LIBXC_RECORD.PAGE_DATA;
    if (isBatch && header.length <= MAX_BODY_LENGTH && (await walk.proof(header.next)) > 0) {
      doubtful = undefined;
      batch = undefined;
      at = header.next;
      continue;
    }
    const from = doubtful ?? at;
    const found =
      (await aligned.resume(batch?.entries ?? from + ALIGNMENT)) ??
      (await anywhere.resume(batch?.entries ?? from + 1));
    if (found === undefined) {
      if (header === undefined || walk.isCut(header)) break;
      if (header.type === LIBXC_RECORD.END && header.length === 0 && doubtful !== undefined) {
        end = header.next;
        break;
      }
      const rest = await endWithin(input, walk, from, order, isWrapped);
      lost.push(rest.part);
      appendTo(patches, rest.patches);
      end = rest.end;
      break;
    }
    const part = partBefore(found, from, batch?.at);
    lost.push(part);
    const covered = part.end - ((part.end - part.start) % ALIGNMENT);
    appendTo(patches, skipRecords(part.start, covered, order));
    if (covered < part.end) cuts.push({ start: covered, end: part.end, proof: part.proof });
    doubtful = undefined;
    batch = undefined;
    at = found.at;
  }
  if (end !== undefined && isWrapped !== false) {
    const tail = await salvageLibxl(input, walk, end, order);
    appendTo(lost, tail.lost);
    appendTo(patches, tail.patches);
  }
  const patched = patchedSource(input, patches);
  const source = cuts.length === 0 ? patched : withoutParts(patched, cuts);
  return { source, lost, end, offsetOf: offsetWithout(cuts), originOf: offsetWithin(cuts) };
}

/** What is lost where libxc's records don't go on: up to the records of libxl, to END, or to the end of the input. */
async function endWithin(
  input: ByteSource,
  walk: RecordWalk,
  from: number,
  order: ByteOrder,
  isWrapped: boolean | undefined,
): Promise<{ part: LostPart; patches: readonly Patch[]; end?: number }> {
  const found = await resumeLibxl(input, walk, from + ALIGNMENT, order);
  if (found === undefined) return { part: { start: from, end: input.size, proof: 0 }, patches: [] };
  const { at, proof } = found;
  const part = { start: from, end: at, proof };
  // END alone is libxc's own, unless another layer is known to be around
  const isOwn = proof === 1 && isWrapped !== true;
  if (isOwn) return { part, patches: skipRecords(from, at, order), end: at + recordHeader.size };
  const end = recordHeader.encode({ type: LIBXC_RECORD.END, bodyLength: 0 }, order);
  const patch = { offset: at - recordHeader.size, bytes: end };
  return { part, patches: [...skipRecords(from, patch.offset, order), patch], end: at };
}

/** What is lost before records go on. @param from where it begins at the latest @param batch offset of the batch before */
function partBefore({ at, proof }: Resumption, from: number, batch: number | undefined): LostPart {
  if (batch === undefined) return { start: from, end: at, proof };
  return at < from
    ? { start: batch, end: at, proof, what: "a batch whose contents are not all there" }
    : { start: from, end: at, proof, doubtfulFrom: batch };
}
