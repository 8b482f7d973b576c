/**
 * XBZRLE: the difference of a page to the page as last sent. Pairs of counts, ULEB128 of one or two bytes each:
 * bytes left as they are, bytes that follow and replace. What input doesn't reach stays as it was.
 */

/** Says what is wrong with a difference for a page of `pageSize` bytes; undefined when it can be applied. */
export function checkDelta(
  bytes: Uint8Array,
  start: number,
  length: number,
  pageSize: number,
): string | undefined {
  const end = start + length;
  let at = start;
  let done = 0;
  while (at < end) {
    for (let part = 0; part < 2; part += 1) {
      if (at >= end) return "ends without the count of changed bytes";
      let count = bytes[at] ?? 0;
      at += 1;
      if (count >= 0x80) {
        const high = bytes[at] ?? 0x80;
        if (at >= end || high >= 0x80) return "has a count of more than two bytes or a cut one";
        count = (count & 0x7f) | (high << 7);
        at += 1;
      }
      done += count;
      if (done > pageSize) return `runs to byte ${done} of a page of ${pageSize}`;
      if (part === 1) at += count;
    }
    if (at > end) return `lacks ${at - end} of the bytes it announces`;
  }
  return undefined;
}

/** Applies a difference that `checkDelta` passed. */
export function applyDelta(page: Uint8Array, bytes: Uint8Array, start: number, length: number): void {
  const end = start + length;
  let at = start;
  let to = 0;
  while (at < end) {
    let count = bytes[at++] ?? 0;
    if (count >= 0x80) count = (count & 0x7f) | ((bytes[at++] ?? 0) << 7);
    to += count;
    count = bytes[at++] ?? 0;
    if (count >= 0x80) count = (count & 0x7f) | ((bytes[at++] ?? 0) << 7);
    // short runs are the rule: a loop beats the call that a copy costs
    if (count < 24) for (let i = 0; i < count; i += 1) page[to + i] = bytes[at + i] ?? 0;
    else page.set(bytes.subarray(at, at + count), to);
    to += count;
    at += count;
  }
}
