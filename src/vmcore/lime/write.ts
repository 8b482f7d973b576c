import { type PlacedRun, SparseWriter, writeContents } from "../contents.js";
import { LIME_MAGIC, LIME_VERSION, limeHeader } from "./layout.js";
import { selectMemory } from "../../guest/selection.js";
import type { VmcoreWriter } from "../../guest/output-format.js";

/** LiME's format: a header and the contents, range after range. It has no room for anything but memory. */
export const limeWriter: VmcoreWriter = {
  id: "lime",
  title: "LiME memory dump",
  needsRandomAccess: false,
  usesKernel: "never",
  async write(guest, sink, options) {
    const { runs, missing, present, zero, absent } = selectMemory(guest, options.range);
    const writer = new SparseWriter(sink);
    let size = 0;
    let before = 0;
    for (const { start, end } of runs) {
      const header = {
        magic: LIME_MAGIC,
        version: LIME_VERSION,
        s_addr: start,
        e_addr: end - 1,
        reserved: new Uint8Array(0),
      };
      await writer.put(size, limeHeader.encode(header, "little"));
      const run: PlacedRun = { start, end, offset: size + limeHeader.size };
      await writeContents(guest.memory, [run], writer, (done) =>
        options.progress?.(before + done, present + zero),
      );
      before += end - start;
      size = run.offset + (end - start);
    }
    await writer.finish(size);
    return { present, zero, absent, missing, size };
  },
};
