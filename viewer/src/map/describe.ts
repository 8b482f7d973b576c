import { findRun } from "../../../src/open/session/memory-table.js";
import type { MemoryKind, MemoryTable } from "../../../src/open/session/protocol.js";
import { bytes, hex, visible } from "../format.js";
import { texts } from "../texts.js";

/** A kind of memory in a few words. */
export function kindText({ presence, reason, unpopulated, tone, heat }: MemoryKind): string {
  if (tone !== undefined || heat !== undefined)
    return visible(texts.memory.kinds[reason ?? ""] ?? reason ?? "");
  const known = unpopulated === true ? texts.memory.kinds[reason ?? ""] : undefined;
  if (known !== undefined) return known;
  const what = unpopulated === true ? texts.memory.unpopulated : texts.memory[presence];
  return reason === undefined ? what : `${what}: ${visible(reason)}`;
}

/** What is at an address: its kind, and the run it lies in. */
export function describeAddress(table: MemoryTable, address: number): string {
  const run = findRun(table, address);
  const kind = run < 0 ? undefined : table.legend[table.kinds[run] ?? 0];
  if (kind === undefined) return texts.memory.hole;
  const start = table.starts[run] ?? 0;
  const end = table.ends[run] ?? 0;
  return `${kindText(kind)} (${hex(start)} – ${hex(end - 1)}, ${bytes(end - start)})`;
}

/** The whole table in a sentence. */
export const describeTable = (table: MemoryTable): string =>
  table.legend.map((kind) => `${bytes(kind.bytes)} ${kindText(kind)}`).join(", ");
