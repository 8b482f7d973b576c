import { formatError } from "../../findings/diagnostics.js";
import type { PvInfoChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import { TYPE } from "./layout.js";
import type { PageIndex } from "./page-index.js";
import type { PfnSet } from "./pfn-set.js";
import { LEGACY_RULES } from "./rules.js";
import type { TmemPool } from "./tmem.js";

/** Senders leave out parameters of value 0 and receivers ignore them. */
export function setParameter(parameters: Map<number, bigint>, index: number, value: bigint): void {
  if (value !== 0n) parameters.set(index, value);
}

const IOREQ_SERVER_PFN = 32;
const IOREQ_SERVER_PAGES = 33;
const ACPI_IOPORTS_LOCATION = 19;

/** Leaves out parameters that a receiver ignores. */
export function checkIoreqServer(cursor: Cursor, parameters: Map<number, bigint>, offset: number): void {
  if (parameters.has(IOREQ_SERVER_PFN) !== parameters.has(IOREQ_SERVER_PAGES)) {
    cursor.report(
      LEGACY_RULES.ioreqPair,
      offset,
      "only one of the I/O request server's parameters is there: both are left out",
    );
    parameters.delete(IOREQ_SERVER_PFN);
    parameters.delete(IOREQ_SERVER_PAGES);
  }
  if ((parameters.get(ACPI_IOPORTS_LOCATION) ?? 1n) !== 1n) parameters.delete(ACPI_IOPORTS_LOCATION);
}

/** Refuses tmem pages unless their loss is allowed. */
export function checkTmem(
  source: string,
  chunk: { readonly offset: number; readonly index: number; readonly pools: readonly TmemPool[] },
  allowLoss: boolean,
): void {
  const lost = chunk.pools.reduce((sum, pool) => sum + pool.pages, 0);
  if (lost === 0 || allowLoss) return;
  const bytes = chunk.pools.reduce((sum, pool) => sum + pool.pages * pool.pageSize, 0);
  throw formatError(
    LEGACY_RULES.tmemPages,
    source,
    { offset: chunk.offset, record: { layer: "legacy", index: chunk.index, type: "TMEM" } },
    `${lost} pages (${bytes} bytes) of persistent tmem pools would be lost`,
    { option: "allow-loss", effect: "converts the rest" },
  );
}

/** Warns of tmem that a converted stream can't carry. */
export function reportTmem(cursor: Cursor, pools: readonly TmemPool[]): void {
  if (pools.length === 0) return;
  const lost = pools.reduce((sum, pool) => sum + pool.pages, 0);
  const what = lost === 0 ? "no tmem page is in the stream" : `${lost} tmem pages are lost`;
  cursor.report(LEGACY_RULES.tmemEmpty, 0, `${pools.length} tmem pools announced; ${what}`);
}

/** The pages that hold the p2m table must be there, as normal ones. */
export function checkFrames(
  cursor: Cursor,
  pv: PvInfoChunk,
  index: PageIndex,
  unmapped: PfnSet | undefined,
): void {
  for (const [i, pfn] of pv.p2mFrames?.entries() ?? []) {
    const type = unmapped?.has(pfn) === true ? undefined : index.type(pfn);
    if (type === TYPE.normal) continue;
    const is = type === undefined ? "is not in the stream" : `has type ${type}`;
    const message = `p2m frame ${i}, pfn 0x${pfn.toString(16)}, ${is}: it must be a normal page`;
    cursor.report(LEGACY_RULES.p2mFrame, pv.offset, message);
  }
}

/**
 * Reports bytes after the end of a stream. After an unknown block of extended info they may belong to it.
 * @param size bytes of the input; undefined: it is a pipe that another program may go on reading, or the stream broke
 *   off, which has its own warning
 */
export function reportTrailing(
  cursor: Cursor,
  end: number,
  pv: PvInfoChunk | undefined,
  size: number | undefined = cursor.position === end ? cursor.reader.size : undefined,
): void {
  if (size === undefined || size <= end) return;
  const after = `${size - end} bytes follow the end of the stream`;
  if (pv?.unknownBlock === undefined) cursor.report(LEGACY_RULES.trailing, end, after);
  else cursor.report(LEGACY_RULES.unreadState, end, `${after}, whose block '${pv.unknownBlock}' is unknown`);
}
