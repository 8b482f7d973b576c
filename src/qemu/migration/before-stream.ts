import type { Diagnostics } from "../../findings/diagnostics.js";
import type { GuestImage } from "../../guest/image.js";
import { withMoreLost } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readIntact } from "../../io/lost-bytes.js";
import { isZero, wordsOf } from "../../io/zeros.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";

/** Room that is left in front of a stream ends at one of these: a sector. */
const SECTOR = 512;
const WHAT = "no known header: a damaged one, or another program's";

/** Whether what is in front of a stream is room that was left there: zeros up to a sector's end. */
async function isRoom(input: ByteSource, start: number): Promise<boolean> {
  const bytes = new Uint8Array(start);
  const { length } = await readIntact(input, 0, bytes);
  return start % SECTOR === 0 && length === start && isZero(bytes, wordsOf(bytes));
}

/** Reports bytes in front of a stream that may be what is left of a head. @param start of the stream */
export async function reportFront(input: ByteSource, start: number, diagnostics: Diagnostics): Promise<void> {
  if (await isRoom(input, start)) return;
  diagnostics.report(
    QEMU_MIGRATION_RULES.preceded,
    { offset: 0 },
    `${start} bytes precede the stream: ${WHAT}`,
  );
}

/** A guest of a stream with other bytes in front of it, which may be what is left of a head, as lost. @param start of the stream */
export async function withLostFront(
  guest: GuestImage,
  input: ByteSource,
  start: number,
): Promise<GuestImage> {
  if (await isRoom(input, start)) return guest;
  return withMoreLost(guest, { lost: [{ start: 0, end: start, proof: 2, what: WHAT }] });
}
