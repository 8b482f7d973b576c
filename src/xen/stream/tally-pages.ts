import { FormatError } from "../../findings/errors.js";
import { Report } from "../../findings/report.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { ByteSource } from "../../io/byte-source.js";
import { LIBXC_RECORD } from "../libxc/layout.js";
import { PageEntries } from "../libxc/pages.js";
import { XenStream } from "./read.js";
import { PageTally } from "./tally.js";

/** Every page's last type and how often it was sent, of a stream; of a damaged one as far as it can be read. */
export async function tallyPages(
  input: ByteSource,
  progress: (done: number, total: number) => void,
): Promise<PageTally> {
  const stream = new XenStream(input, new Report(input.name));
  const entries = new PageEntries();
  const tally = new PageTally();
  try {
    for await (const item of stream.items()) {
      if (item.kind !== "record" || item.layer !== "libxc" || item.type !== LIBXC_RECORD.PAGE_DATA) continue;
      progress(item.offset, input.size);
      if (!(await entries.open(stream.body))) continue;
      const end = Math.min(input.size, item.bodyOffset + item.length);
      let before = 0;
      while (await entries.next())
        before += tally.add(entries, Math.floor((end - entries.contentsOffset) / PAGE_SIZE) - before);
    }
  } catch (error) {
    // findings say what is wrong
    if (!(error instanceof FormatError)) throw error;
  }
  return tally;
}
