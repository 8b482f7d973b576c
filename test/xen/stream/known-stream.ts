import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { LIBXC_RECORD } from "../../../src/xen/libxc/layout.js";
import { XenStream } from "../../../src/xen/stream/read.js";
import type { KnownFile, PagePlace } from "../../guest/damage-oracle.js";

const PAGE = 4096;

/** A stream whose pages are known by its records. */
export async function knownStream(bytes: Buffer): Promise<KnownFile> {
  const stream = new XenStream(bytesSource(bytes), new StrictDiagnostics("test"));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const last = new Map<number, PagePlace>();
  let little = true;
  for await (const item of stream.items()) {
    if (item.kind === "image-header") little = item.order === "little";
    if (item.kind !== "record" || item.layer !== "libxc" || item.type !== LIBXC_RECORD.PAGE_DATA) continue;
    const count = view.getUint32(item.bodyOffset, little);
    let contents = item.bodyOffset + 8 + 8 * count;
    for (let i = 0; i < count; i += 1) {
      const entry = item.bodyOffset + 8 + 8 * i;
      const high = view.getUint32(entry + (little ? 4 : 0), little);
      if (high >>> 28 >= 13) continue;
      const gpa = (view.getUint32(entry + (little ? 0 : 4), little) + (high & 0xf_ffff) * 2 ** 32) * PAGE;
      const index = [[item.offset, 16] as const, [entry, 8] as const];
      last.set(gpa, { gpa, size: PAGE, contents: [[contents, PAGE]], index });
      contents += PAGE;
    }
  }
  return {
    bytes,
    pages: [...last.values()],
    page: ({ contents: [at = [0, 0]] }) => bytes.subarray(at[0], at[0] + PAGE),
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true }),
  };
}
