import type { GuestImage } from "../../guest/image.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { ByteSource } from "../../io/byte-source.js";
import { PAGE_TYPE, PAGE_TYPE_NAMES } from "../../xen/libxc/layout.js";
import type { PageTally } from "../../xen/stream/tally.js";
import { tallyPages } from "../../xen/stream/tally-pages.js";
import { TableBuilder } from "./memory-table.js";
import type { MemoryTable } from "./protocol.js";

/** What pages are told apart by: their type or form in the file, or how often they were sent. */
export type PageAspect = "kind" | "sends";

/** Looks at single pages at most: each that is packed in a file is one. */
const MOST_LOOKS = 1 << 22;
/** Bytes asked about at a time. */
const STEP = 4 << 20;
/** Times sent from which on they are no longer counted. */
const MOST_SENDS = 7;

type Progress = (done: number, total: number) => void;

/** Pages of a Xen stream by the type of their last entry, or by how often they were sent. */
function streamKinds(tally: PageTally, by: PageAspect): MemoryTable {
  const table = new TableBuilder(true);
  for (const { start, end, type, sends } of tally.entriesByRun()) {
    const range = { start: start * PAGE_SIZE, end: end * PAGE_SIZE };
    const reason = PAGE_TYPE_NAMES[type] ?? "";
    const isUnpopulated = type === PAGE_TYPE.XTAB || (by === "sends" && sends === 0);
    if (isUnpopulated) table.add({ ...range, kind: { presence: "absent", reason, unpopulated: true } });
    else if (by === "kind") table.add({ ...range, kind: { presence: "present", reason, tone: type } });
    else table.add({ ...range, kind: { presence: "present", ...heatOf(sends) } });
  }
  return table.finish();
}

function heatOf(sends: number): { readonly reason: string; readonly heat: number } {
  const counted = Math.min(MOST_SENDS, sends);
  return { reason: `sent ${counted}`, heat: (counted - 1) / (MOST_SENDS - 1) };
}

/** Memory that a stream sent by how often it did, page by page. */
function changes({ memory }: GuestImage): MemoryTable | undefined {
  if (memory.sends === undefined) return undefined;
  const table = new TableBuilder(true);
  let looks = 0;
  for (const { start, end, presence, reason } of memory.ranges()) {
    if (presence === "absent") {
      table.add({ start, end, kind: { presence, ...(reason === undefined ? {} : { reason: reason.text }) } });
      continue;
    }
    for (let at = start; at < end; looks += 1) {
      if (looks === MOST_LOOKS) return table.finish(at);
      const next = Math.min(end, at - (at % PAGE_SIZE) + PAGE_SIZE);
      table.add({ start: at, end: next, kind: { presence: "present", ...heatOf(memory.sends(at)) } });
      at = next;
    }
  }
  return table.finish();
}

/** Present memory by its form in the file: as it is, or packed. Undefined where the format doesn't say. */
function forms({ memory }: GuestImage): MemoryTable | undefined {
  const table = new TableBuilder(true);
  let looks = 0;
  for (const { start, end, presence, reason } of memory.ranges()) {
    if (presence !== "present") {
      const text = reason === undefined ? {} : { reason: reason.text };
      table.add({ start, end, kind: { presence, ...text } });
      continue;
    }
    if (memory.contiguous === undefined) return undefined;
    for (let at = start; at < end; looks += 1) {
      if (looks === MOST_LOOKS) return table.finish(at);
      const whole = memory.contiguous(at, Math.min(STEP, end - at));
      const next = at + (whole?.length ?? PAGE_SIZE - (at % PAGE_SIZE));
      const [name, tone] = whole === undefined ? (["packed", 1] as const) : (["plain", 0] as const);
      table.add({ start: at, end: Math.min(end, next), kind: { presence: "present", reason: name, tone } });
      at = next;
    }
  }
  return table.finish();
}

/**
 * Pages of a guest by an aspect, as a table of the same form as memory's. Undefined where the input doesn't tell: only
 * streams send pages more than once.
 */
export async function pageKinds(
  guest: GuestImage,
  format: string,
  source: ByteSource | undefined,
  by: PageAspect,
  progress: Progress,
): Promise<MemoryTable | undefined> {
  if (format === "xen-stream" && source !== undefined)
    return streamKinds(await tallyPages(source, progress), by);
  if (format === "xen-legacy" && source !== undefined) {
    const { tallyLegacyPages } = await import("../../xen/legacy/tally-pages.js");
    return streamKinds(await tallyLegacyPages(source, progress), by);
  }
  return by === "kind" ? forms(guest) : changes(guest);
}
