import type { Diagnostics } from "../../findings/diagnostics.js";
import type { ByteSource } from "../../io/byte-source.js";
import { limeHeader } from "./layout.js";
import { beyondAddresses, describeBeyond } from "../segments.js";
import { readRanges } from "./read.js";
import { LIME_RULES } from "./rules.js";

/** Checks the headers of all ranges. */
export async function verifyLime(input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const { ranges, lost } = await readRanges(input);
  if (lost !== undefined)
    diagnostics.report(LIME_RULES.header, { offset: lost.place.offset ?? 0 }, lost.message);
  const beyond = beyondAddresses(ranges);
  if (beyond !== undefined)
    diagnostics.report(
      LIME_RULES.header,
      { offset: beyond.offset - limeHeader.size },
      describeBeyond(beyond),
    );
  const byAddress = ranges.toSorted((a, b) => a.physical - b.physical);
  let end = 0;
  for (const { physical, offset, there, memorySize } of byAddress) {
    const place = { offset: offset - limeHeader.size };
    const where = `memory at 0x${physical.toString(16)}`;
    if (there < memorySize)
      diagnostics.report(
        LIME_RULES.truncated,
        place,
        `${where}: the file has 0x${there.toString(16)} of 0x${memorySize.toString(16)} bytes`,
      );
    if (physical < end) diagnostics.report(LIME_RULES.overlap, place, `${where} is in another range, too`);
    end = Math.max(end, physical + memorySize);
  }
}
