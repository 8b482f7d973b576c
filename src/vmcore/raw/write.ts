import { SparseWriter, writeContents } from "../contents.js";
import { selectMemory } from "../../guest/selection.js";
import type { VmcoreWriter } from "../../guest/output-format.js";

/**
 * Guest-physical memory as it is: the byte at address A is at offset A − start of `range` (0 by default).
 * Holes between ranges read as zeros; the format has room for nothing else.
 */
export const rawWriter: VmcoreWriter = {
  id: "raw",
  title: "raw memory",
  needsRandomAccess: false,
  usesKernel: "never",
  async write(guest, sink, options) {
    const { runs, missing, present, zero, absent } = selectMemory(guest, options.range);
    const base = options.range?.start ?? 0;
    const placed = runs.map(({ start, end }) => ({ start, end, offset: start - base }));
    const size = (runs.at(-1)?.end ?? base) - base;
    const writer = new SparseWriter(sink);
    await writeContents(guest.memory, placed, writer, (done) => options.progress?.(done, present + zero));
    await writer.finish(size);
    return { present, zero, absent, missing, size };
  },
};
