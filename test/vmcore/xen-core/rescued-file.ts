import { bytesSource } from "../../../src/io/byte-source.js";
import { xenCore } from "../../../src/vmcore/xen-core/format.js";
import { eachFrame, MAX_FRAME, openXenCore, UNUSED } from "../../../src/vmcore/xen-core/read.js";
import type { KnownFile, PagePlace } from "../../guest/damage-oracle.js";

/** A Xen core whose every page is known by its own undamaged table. */
export async function knownXenCore(bytes: Buffer): Promise<KnownFile & { readonly tableAt: number }> {
  const core = await openXenCore(bytesSource(bytes));
  const pages: PagePlace[] = [];
  await eachFrame(core, (index, frame) => {
    if (frame === UNUSED || frame >= MAX_FRAME) return;
    pages.push({
      gpa: frame * core.pageSize,
      size: core.pageSize,
      contents: [[core.contents.offset + index * core.pageSize, core.pageSize]],
      index: [[core.frames.offset + index * core.entrySize, core.entrySize]],
    });
  });
  return {
    bytes,
    pages,
    tableAt: core.frames.offset,
    page: ({ contents }) => bytes.subarray(contents[0]?.[0], (contents[0]?.[0] ?? 0) + core.pageSize),
    open: (damaged) =>
      xenCore.reader.openGuest(bytesSource(damaged, "damaged"), { partial: true, findKernel: false }),
  };
}
