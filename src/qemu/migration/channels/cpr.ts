import { latin1, viewOf } from "../../../binary/layout.js";
import { type ByteSource, readFully } from "../../../io/byte-source.js";
import { isName } from "../frame.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { cprHeader } from "./layout.js";
import type { ReportChannel } from "./multifd.js";

/** A cpr channel lists names: it is small. */
const LARGEST = 1 << 20;
const ENTRY = 1;
/** The descriptor itself goes beside; this byte is in its place. */
const DESCRIPTOR = 0x20;

/** Names of the RAM blocks whose memory a cpr channel hands over as file descriptors. */
export async function handedOver(source: ByteSource, report: ReportChannel): Promise<readonly string[]> {
  const bytes = new Uint8Array(Math.min(source.size, LARGEST));
  const length = await readFully(source, 0, bytes);
  const view = viewOf(bytes);
  const names: string[] = [];
  let at = cprHeader.size;
  const cut = (): readonly string[] => {
    report(QEMU_MIGRATION_RULES.channelCut, `its list of names is not whole at 0x${at.toString(16)}`);
    return names;
  };
  for (;;) {
    if (at >= length) return cut();
    if (bytes[at] !== ENTRY) return names;
    if (at + 5 > length) return cut();
    const size = view.getUint32(at + 1);
    const end = at + 5 + size;
    // the number of the descriptor, and its place
    if (size === 0 || end + 5 > length || bytes[end + 4] !== DESCRIPTOR) return cut();
    const name = latin1(bytes.subarray(at + 5, end - 1));
    if (!isName(name)) return cut();
    names.push(name);
    at = end + 5;
  }
}
