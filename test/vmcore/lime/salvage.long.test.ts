import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { limeHeader } from "../../../src/vmcore/lime/layout.js";
import { readRanges } from "../../../src/vmcore/lime/read.js";
import { limeWriter } from "../../../src/vmcore/lime/write.js";
import {
  DAMAGE_KINDS,
  damageSize,
  expectRescue,
  type KnownFile,
  randoms,
} from "../../guest/damage-oracle.js";
import { hasShared, STRIDE, rounds, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const PAGE = 4096;
const place = scratch();
afterAll(place.cleanup);

async function realDump(): Promise<KnownFile> {
  const guest = await openGuest(
    bytesSource(fs.readFileSync(unzstd(`${sharedData}/xen-v3/pvh64.save.zst`, place.folder))),
  );
  const sink = new MemorySink();
  await limeWriter.write(guest, sink, {});
  const bytes = Buffer.from(sink.bytes());
  const { ranges } = await readRanges(bytesSource(bytes));
  const pages = ranges.flatMap(({ physical, offset, memorySize }) =>
    Array.from({ length: memorySize / PAGE }, (_, i) => ({
      gpa: physical + i * PAGE,
      size: PAGE,
      contents: [[offset + i * PAGE, PAGE] as const],
      index: [[offset - limeHeader.size, limeHeader.size] as const],
    })),
  );
  return {
    bytes,
    pages,
    page: ({ contents }) => bytes.subarray(contents[0]?.[0], (contents[0]?.[0] ?? 0) + PAGE),
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true }),
  };
}

describe.skipIf(skipUnless(hasShared, "shared data"))("a LiME dump that is damaged in its middle", () => {
  it("doubts a range that bytes were inserted into", { timeout: 60_000 }, async () => {
    const { bytes, pages } = await realDump();
    const hit = pages.at(-1);
    const at = (hit?.contents[0]?.[0] ?? 0) + 100;
    const last = (pages.at(-1)?.gpa ?? 0) + PAGE;
    // as many as a header has, too: no range follows it
    for (const size of [57, limeHeader.size]) {
      const shifted = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(size, 0xa5), bytes.subarray(at)]);
      const { rescue } = await openGuest(bytesSource(shifted, "shifted"), { partial: true });
      expect(rescue?.doubtful).toMatchObject([{ end: last }]);
      expect(rescue?.doubtful[0]?.start).toBeLessThanOrEqual(hit?.gpa ?? 0);
    }
    // the header of the next range is damaged: this one is as it was
    const header = pages.at(-1)?.index[0]?.[0] ?? 0;
    const damaged = Buffer.from(bytes);
    damaged.fill(0xa5, header, header + 32);
    const other = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect(other.rescue?.doubtful).toEqual([]);
  });

  it("gives what lies outside of the damage, and says what is lost", { timeout: 60_000 }, async () => {
    const file = await realDump();
    const headers = [...new Set(file.pages.map(({ index }) => index[0]?.[0] ?? 0))].filter((at) => at > 0);
    expect(headers.length).toBeGreaterThan(1);
    for (const kind of DAMAGE_KINDS) {
      const next = randoms(kind.length * 7919);
      for (let round = 0; round < rounds(12); round += 1) {
        const size = damageSize(kind, next);
        const header = headers[Math.floor(next() * headers.length)] ?? 0;
        const target =
          round % 2 === 0
            ? header + Math.floor(next() * 32)
            : Math.floor(next() * (file.bytes.length - size));
        await expectRescue(file, kind, Math.max(8, target), size, next);
      }
    }
  });

  it("is known by what follows its first header, whatever is left of that", { timeout: 60_000 }, async () => {
    const file = await realDump();
    const next = randoms(11);
    for (const [start, size] of [
      [0, 8],
      [4, 4],
      [0, limeHeader.size],
    ] as const)
      for (const kind of ["noise", "zeros"] as const) await expectRescue(file, kind, start, size, next);
    const damaged = Buffer.from(file.bytes).fill(0xff, 0, 8);
    await expect(openGuest(bytesSource(damaged, "damaged"))).rejects.toMatchObject({
      code: "open/damaged-head",
    });
  });

  it("is not read at a wrong address when one bit of a header is another", { timeout: 60_000 }, async () => {
    const file = await realDump();
    const headers = [...new Set(file.pages.map(({ index }) => index[0]?.[0] ?? 0))];
    const next = randoms(3);
    for (const header of headers)
      for (let byte = header === 0 ? 8 : 0; byte < 24; byte += STRIDE)
        await expectRescue(file, "flip", header + byte, 1, next);
  });
});
