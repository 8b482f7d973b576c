import { describe, expect, it } from "vitest";
import type { ByteSource } from "../../../src/io/byte-source.js";
import { openGuest, verify } from "../../../src/open/open.js";
import { LIME_MAGIC, limeHeader } from "../../../src/vmcore/lime/layout.js";

const MIB = 1 << 20;
/** Of the first range: more than what is looked at first. */
const FIRST = 70 * MIB;
const SECOND = { start: 0x1000_0000, size: 2 * MIB };
const THIRD = { start: 0x2000_0000, size: MIB };

const header = (start: number, size: number): Uint8Array =>
  limeHeader.encode(
    { magic: LIME_MAGIC, version: 1, s_addr: start, e_addr: start + size - 1, reserved: new Uint8Array(8) },
    "little",
  );

/** A dump without its first header, before and after which other bytes may be; each 256 bytes have their offset. */
function dump({ before = 0, after = 0, start = SECOND.start, last = THIRD.start } = {}): ByteSource {
  const second = before + limeHeader.size + FIRST;
  const third = second + limeHeader.size + SECOND.size;
  const size = third + limeHeader.size + THIRD.size + after;
  const places = [
    [second, header(start, SECOND.size)],
    [third, header(last, THIRD.size)],
  ] as const;
  return {
    name: "dump",
    size,
    read(offset, into) {
      const length = Math.max(0, Math.min(into.length, size - offset));
      const part = into.subarray(0, length).fill(0x5a);
      const view = new DataView(part.buffer, part.byteOffset, length);
      for (let at = (256 - (offset % 256)) % 256; at + 4 <= length; at += 256)
        view.setUint32(at, offset + at, true);
      for (const [at, bytes] of places)
        for (const [i, byte] of bytes.entries())
          if (at + i >= offset && at + i < offset + length) part[at + i - offset] = byte;
      return length;
    },
  };
}

const codes = async (input: ByteSource): Promise<readonly string[]> =>
  (await verify(input)).report.findings.map(({ code }) => code);

describe("a LiME dump whose first header is lost, and whose first range is a long one", () => {
  it("is known by the ranges after it, and these are read", { timeout: 60_000 }, async () => {
    const input = dump();
    expect(await codes(input)).toEqual(["open/damaged-head"]);
    const guest = await openGuest(input, { partial: true, findKernel: false });
    const ranges = [...guest.memory.ranges()].map(({ start, end }) => [start, end]);
    expect(ranges).toEqual([
      [SECOND.start, SECOND.start + SECOND.size],
      [THIRD.start, THIRD.start + THIRD.size],
    ]);
    const [bytes, known] = [new Uint8Array(4096), new Uint8Array(4096)];
    await guest.memory.read(THIRD.start + 8192, bytes);
    await input.read(input.size - THIRD.size + 8192, known);
    expect(Buffer.compare(bytes, known)).toBe(0);
    expect(guest.unplaced?.map(({ size }) => size)).toEqual([FIRST]);
    expect(guest.rescue?.lost).toMatchObject([{ start: 0, end: FIRST + limeHeader.size, proof: 2 }]);
  });

  it.each([
    ["bytes after it", dump({ after: 512 })],
    ["bytes before it that are no range", dump({ before: 100 })],
    ["a first range longer than the addresses before the second", dump({ start: 32 * MIB, last: 40 * MIB })],
  ])("is none with %s: it is part of something else", { timeout: 60_000 }, async (_, input) => {
    expect(await codes(input)).toEqual(["open/unknown"]);
  });
});
