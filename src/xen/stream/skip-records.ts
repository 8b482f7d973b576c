import type { ByteOrder } from "../../binary/layout.js";
import type { Patch } from "../../guest/salvage.js";
import { MAX_BODY_LENGTH, OPTIONAL_TYPE, recordHeader } from "../libxc/layout.js";

/** Records begin at multiples of so many bytes; it is a record header's size, too. */
export const ALIGNMENT = 8;

/** Optional records of either layer over [start, end), whose length is a multiple of ALIGNMENT: every reader skips them. */
export function skipRecords(start: number, end: number, order: ByteOrder): Patch[] {
  const patches: Patch[] = [];
  const most = MAX_BODY_LENGTH - (MAX_BODY_LENGTH % ALIGNMENT);
  for (let offset = start; offset < end; ) {
    const size = Math.min(end - offset, most);
    const header = { type: OPTIONAL_TYPE, bodyLength: size - recordHeader.size };
    patches.push({ offset, bytes: recordHeader.encode(header, order) });
    offset += size;
  }
  return patches;
}
