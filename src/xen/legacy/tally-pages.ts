import { FormatError } from "../../findings/errors.js";
import type { ByteSource } from "../../io/byte-source.js";
import { PageTally } from "../stream/tally.js";
import { BATCH_LIMIT, hasData, TYPE } from "./layout.js";
import { PfnSet } from "./pfn-set.js";
import { LegacyReader } from "./read.js";

const PFN_MASK = 0x0fff_ffff;

/** Every page's last type and how often it was sent, of a legacy stream; of a damaged one as far as it can be read. */
export async function tallyLegacyPages(
  input: ByteSource,
  progress: (done: number, total: number) => void,
): Promise<PageTally> {
  const tally = new PageTally();
  const pfns = new Float64Array(BATCH_LIMIT);
  const stored = new PfnSet();
  const types = new Uint8Array(BATCH_LIMIT);
  try {
    for await (const chunk of new LegacyReader(input).chunks()) {
      // what is sent for comparison only is no change
      if (chunk.kind !== "pages" || chunk.verify) continue;
      progress(chunk.offset, input.size);
      let length = 0;
      for (const entry of chunk.entries) {
        const type = entry >>> 28;
        const pfn = entry & PFN_MASK;
        if (type === TYPE.invalid && pfn === 0) continue;
        // "allocate only" never takes contents away
        if (type === TYPE.allocateOnly && stored.has(pfn)) continue;
        if (hasData(type)) stored.add(pfn);
        pfns[length] = pfn;
        types[length] = type;
        length += 1;
      }
      const batch = { pfns, types, length, hasData: (i: number) => hasData(types[i] ?? 0) };
      tally.add(batch, Number.POSITIVE_INFINITY);
    }
  } catch (error) {
    // findings say what is wrong
    if (!(error instanceof FormatError)) throw error;
  }
  return tally;
}
