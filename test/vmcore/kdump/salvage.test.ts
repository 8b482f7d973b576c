import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { rescueMap } from "../../../src/guest/rescue-map.js";
import { openGuest } from "../../../src/open/open.js";
import { pageDescriptor } from "../../../src/vmcore/kdump/layout.js";
import { salvageRecords } from "../../../src/vmcore/kdump/flattened-salvage.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { openKdump } from "../../../src/vmcore/kdump/open.js";
import { KdumpFile } from "../../../src/vmcore/kdump/read.js";
import { randoms } from "../../guest/damage-oracle.js";
import { hasShared, scratch, skipUnless } from "../../shared.js";
import { verifyAs } from "../../verify-as.js";
import { unpackKdump } from "./data.js";

const place = scratch();
afterAll(place.cleanup);

const SIZE = pageDescriptor.size;

/** Where an input's map says that descriptors are lost: first byte and end. */
async function lostDescriptors(bytes: Uint8Array): Promise<{ spans: [number, number][]; pages: number }> {
  const { lost, counts } = await openKdump(bytesSource(bytes), { partial: true });
  const spans = rescueMap(bytes.length, { lost, doubtful: [] })
    .parts.filter(({ state, what }) => state === "lost" && what === "descriptors of pages")
    .map(({ offset, length }): [number, number] => [offset, offset + length]);
  return { spans, pages: counts.damaged + counts.lost };
}

describe.skipIf(skipUnless(hasShared, "shared data"))("a kdump whose tables are damaged", () => {
  it.each(["tiny-split.snappy.kdump", "linux.zlib-d31.split2.kdump"])(
    "%s is whole again when one bit of its headers is another",
    { timeout: 120_000 },
    async (name) => {
      const bytes = fs.readFileSync(unpackKdump(name, place.folder));
      const whole = await openKdump(bytesSource(bytes), { partial: true });
      const ranges = Array.from(whole.memory.ranges(), ({ start, presence }) => `${start} ${presence}`);
      const next = randoms(71);
      // signature and version; status to processors; the sub-header
      for (const [from, to] of [
        [0, 12],
        [424, 464],
        [4096, 4200],
      ] as const)
        for (let at = from; at < to; at += 1) {
          const damaged = Buffer.from(bytes);
          damaged.writeUInt8((bytes[at] ?? 0) ^ (1 << Math.floor(next() * 8)), at);
          const { files, memory, counts } = await openKdump(bytesSource(damaged), { partial: true });
          expect({ ...counts, excluded: 0 }, `byte ${at}`).toEqual({ ...whole.counts, excluded: 0 });
          const got = Array.from(memory.ranges(), ({ start, presence }) => `${start} ${presence}`);
          expect(got, `byte ${at}`).toEqual(ranges);
          if (at >= 4096 && at < 4104) continue;
          const physBase = files[0]?.subHeader.phys_base;
          expect(physBase, `byte ${at}`).toBe(whole.files[0]?.subHeader.phys_base);
        }
    },
  );

  it("bytes that were inserted among its pages leave as many after the last: all of it is doubtful", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.snappy.kdump", place.folder));
    const at = bytes.length - 20_000;
    const longer = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(777, 0x5a), bytes.subarray(at)]);
    const { findings } = await verifyAs(kdump, bytesSource(longer));
    expect(findings).toContainEqual(
      expect.objectContaining({ code: "kdump/contents/surplus", severity: "warning", offset: bytes.length }),
    );
    const { rescue, warnings } = await openGuest(bytesSource(longer), { partial: true });
    expect(rescue?.doubtful).toMatchObject([{ start: 0, why: expect.stringMatching(/777 bytes follow/) }]);
    expect(warnings.join()).toMatch(/doubtful: memory 0x0 to 0x[0-9a-f]+ may be shifted: 777 bytes follow/);
    for (const whole of [bytes, Buffer.concat([bytes, Buffer.alloc(5000)])]) {
      expect((await openGuest(bytesSource(whole), { partial: true })).rescue).toBeUndefined();
      expect((await verifyAs(kdump, bytesSource(whole))).findings).not.toContainEqual(
        expect.objectContaining({ code: "kdump/contents/surplus" }),
      );
    }
  });

  it("a bitmap that contradicts the descriptors is refused, and found", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.snappy.kdump", place.folder));
    const { bitmapOffset, bitmapSize } = await KdumpFile.open(bytesSource(bytes));
    bytes[bitmapOffset + bitmapSize + 3] = 0xf7;
    await expect(openGuest(bytesSource(bytes))).rejects.toMatchObject({ code: "kdump/bitmap/count" });
    const report = await verifyAs(kdump, bytesSource(bytes));
    expect(report.findings.map(({ code }) => code)).toContain("kdump/bitmap/count");
    const guest = await openGuest(bytesSource(bytes), { partial: true });
    expect(guest.rescue?.lost.map(({ what }) => what)).toEqual([
      "bitmap 2 is damaged and mended from bitmap 1",
    ]);
  });

  it.each([
    ["0xff", (bytes: Buffer, start: number, end: number) => bytes.fill(0xff, start, end)],
    ["zeros", (bytes: Buffer, start: number, end: number) => bytes.fill(0, start, end)],
  ])("damaged descriptors are lost parts of its map: %s", async (_, damage) => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.snappy.kdump", place.folder));
    const { counts, files } = await openKdump(bytesSource(bytes), {});
    const at = files[0]?.descriptorOffset ?? 0;
    expect(await lostDescriptors(bytes)).toEqual({ spans: [], pages: 0 });
    // in the middle, at the end, and one by itself
    const several = [
      [40, 41],
      [100, 300],
      [counts.dumped - 50, counts.dumped],
    ] as const;
    const damaged = Buffer.from(bytes);
    for (const [start, end] of several) damage(damaged, at + start * SIZE, at + end * SIZE);
    expect(await lostDescriptors(damaged)).toEqual({
      spans: several.map(([start, end]) => [at + start * SIZE, at + end * SIZE]),
      pages: 251,
    });
  });

  it("the parts of its map are bounded in number, and have every damaged descriptor", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.snappy.kdump", place.folder));
    const { counts, files } = await openKdump(bytesSource(bytes), {});
    const at = files[0]?.descriptorOffset ?? 0;
    const numbers = Array.from({ length: Math.floor(counts.dumped / 3) }, (__, i) => 3 * i + 1);
    for (const i of numbers) bytes.fill(0xff, at + i * SIZE, at + (i + 1) * SIZE);
    const { spans, pages } = await lostDescriptors(bytes);
    // between so many damaged ones others can't be believed either
    expect(pages).toBeGreaterThanOrEqual(numbers.length);
    expect(spans.length).toBeLessThanOrEqual(256);
    for (const i of numbers)
      expect(spans.some(([start, end]) => start <= at + i * SIZE && at + (i + 1) * SIZE <= end)).toBe(true);
    expect(spans[0]?.[0]).toBe(at + SIZE);
  });

  it("damaged descriptors of the flattened form are lost where its records have them", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.lzo.flat", place.folder));
    const { records } = await salvageRecords(bytesSource(bytes));
    const { descriptorOffset } = await KdumpFile.open(bytesSource(bytes));
    const start = descriptorOffset + 100 * SIZE;
    const record = records.find(({ to, size }) => to <= start && start + 10 * SIZE <= to + size);
    if (record === undefined) throw new Error("no record has them");
    const from = record.from + start - record.to;
    bytes.fill(0xff, from, from + 10 * SIZE);
    expect(await lostDescriptors(bytes)).toEqual({ spans: [[from, from + 10 * SIZE]], pages: 10 });
  });

  it("descriptors are not taken for records when the head of the last record is damaged", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split10.zlib.flat", place.folder));
    const { records } = await salvageRecords(bytesSource(bytes));
    const last = records.at(-1);
    if (last === undefined) throw new Error("no records");
    bytes.fill(0xff, last.from - 15, last.from + 300);
    const damaged = await salvageRecords(bytesSource(bytes));
    expect(damaged.records).toEqual(records.slice(0, -1));
    expect(damaged.lost.map(({ start, end }) => [start, end])).toEqual([[last.from - 16, bytes.length]]);
  });
});
