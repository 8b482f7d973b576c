import { viewOf } from "../../binary/layout.js";
import type { LostPart, Patch } from "../../guest/salvage.js";
import { outOfOrder } from "../page-order.js";
import { type ChunkWalk, pfnsOf, PROVING, type WalkedChunk, WRONG } from "./chunk-walk.js";
import { BATCH_LIMIT, hasData, PAGE } from "./layout.js";

/** A batch with entries that can't be right, made good: what is cut out of it, and its new count. */
export interface Repair {
  readonly cuts: readonly LostPart[];
  readonly patch: Patch;
  /** pfns between those that are right. */
  readonly stale: readonly (readonly [from: number, to: number])[];
}

/**
 * Makes a batch good some entries of which are damaged: the pages of the others have their places as long as it is
 * known how many pages the damaged ones have.
 */
export function repair(
  at: number,
  next: number,
  chunk: WalkedChunk & { kind: "batch" },
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

/** A batch whose count is damaged: the one that makes its entries right and its contents end where the next chunk begins. */
export async function recount(
  walk: ChunkWalk,
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
