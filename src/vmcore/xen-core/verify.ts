import type { Diagnostics } from "../../findings/diagnostics.js";
import { PageMap } from "../../guest/page-map.js";
import { FormatError } from "../../findings/errors.js";
import type { ByteSource } from "../../io/byte-source.js";
import { eachFrame, MAX_FRAME, openXenCore, UNUSED, type XenCore } from "./read.js";
import { repairFrames, reportRepairs } from "./rescue-frames.js";
import { XEN_CORE_RULES } from "./rules.js";
import { shiftedCore, shiftText } from "./shift.js";

/** Checks sections, notes, counts and frame numbers of a Xen core. @throws FormatError when nothing more can be read */
export async function verifyXenCore(input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const core = await openShifted(input, diagnostics);
  const { contents, frames, entrySize, pageSize } = core;
  const held = Math.floor(contents.size / pageSize);
  const numbered = Math.floor(frames.size / entrySize);
  if (held !== core.pages || numbered !== core.pages)
    diagnostics.report(
      XEN_CORE_RULES.count,
      { offset: frames.offset },
      `the header counts ${core.pages} pages, .xen_pages holds ${held}, ${frames.name} numbers ${numbered}`,
    );
  if (core.contexts.length !== core.vcpus)
    diagnostics.report(
      XEN_CORE_RULES.count,
      { offset: frames.offset },
      `the header counts ${core.vcpus} vCPUs, .xen_prstatus holds ${core.contexts.length}`,
    );
  const lost = contents.offset + contents.size - input.size;
  if (lost > 0)
    diagnostics.report(
      XEN_CORE_RULES.truncated,
      { offset: contents.offset },
      `${lost} bytes of pages are missing`,
    );
  reportRepairs(core, await repairFrames(core), diagnostics);
  const seen = new PageMap(input, { pageSize });
  const { missing } = await eachFrame(core, (index, frame) => {
    const place = { offset: frames.offset + index * entrySize };
    if (frame === UNUSED) return;
    if (frame >= MAX_FRAME)
      diagnostics.report(XEN_CORE_RULES.frame, place, `page ${index} belongs to no frame`);
    else if (seen.at(frame).kind !== "nowhere")
      diagnostics.report(
        XEN_CORE_RULES.frame,
        place,
        `page ${index}: frame 0x${frame.toString(16)} has come before`,
      );
    else seen.set(frame, 1, contents.offset + index * pageSize);
  });
  if (missing > 0)
    diagnostics.report(
      XEN_CORE_RULES.truncated,
      { offset: frames.offset },
      `${missing} frame numbers are missing`,
    );
}

/** Reads a core whose table may be elsewhere than its section headers say. @throws FormatError */
async function openShifted(input: ByteSource, diagnostics: Diagnostics): Promise<XenCore> {
  try {
    return await openXenCore(input);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const found = await shiftedCore(input);
    if (found === undefined) throw error;
    const { core, shift } = found;
    diagnostics.report(XEN_CORE_RULES.shifted, { offset: core.frames.offset - shift }, shiftText(shift));
    return core;
  }
}
