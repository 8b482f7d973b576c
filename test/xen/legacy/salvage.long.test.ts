import { afterAll, describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import {
  DAMAGE_KINDS,
  damageSize,
  expectRescue,
  expectShiftRescue,
  randoms,
} from "../../guest/damage-oracle.js";
import { knownStream } from "./known-stream.js";
import { NAMES, sample } from "./streams.js";
import { scratch } from "../../shared.js";

const PAGE = 4096;

const place = scratch();
afterAll(place.cleanup);
// streams of checkpoints are taken as of their last complete one
const plain = NAMES.filter((name) => !/remus|tmem|broken|debug|xsmall|-live/.test(name));
// of a live stream older copies of pages are there, too
const live = NAMES.filter((name) => name.endsWith("-live"));

describe("a legacy stream that is damaged in its memory", () => {
  it.each([...plain, ...live])(
    "gives what lies outside of the damage: %s",
    { timeout: 120_000 },
    async (name) => {
      const known = await knownStream(name, sample(name, place.folder).stream);
      const file = { ...known, isSparse: live.includes(name) };
      let older = 0;
      const [start, end] = file.body;
      for (const kind of DAMAGE_KINDS) {
        const next = randoms(kind.length * 7919 + name.length);
        for (let round = 0; round < 4; round += 1) {
          const size = Math.min(damageSize(kind, next), (end - start) / 2);
          const batch = file.batches[Math.floor(next() * file.batches.length)] ?? start;
          const target =
            round % 2 === 0
              ? batch + Math.floor(next() * 64)
              : start + Math.floor(next() * (end - start - size));
          older += (await expectRescue(file, kind, target, Math.min(size, end - target), next)).older;
        }
      }
      if (!live.includes(name)) expect(older).toBe(0);
    },
  );
});

describe("a legacy stream whose memory has bytes too few or too many", () => {
  it.each(plain)(
    "gives other batches' memory, and doubts that one's: %s",
    { timeout: 120_000 },
    async (name) => {
      const file = await knownStream(name, sample(name, place.folder).stream);
      const next = randoms(name.length * 104729);
      for (const kind of ["missing", "inserted"] as const)
        for (let round = 0; round < 6; round += 1) {
          const hit = file.pages[Math.floor(next() * file.pages.length)];
          if (hit !== undefined)
            await expectShiftRescue(file, kind, hit, Math.ceil(2 ** (next() * 15)), next);
        }
    },
  );

  it("converts older copies of a guest that ran, and says which they are", async () => {
    const name = "pv64-live";
    const { stream } = sample(name, place.folder);
    const { batches } = await knownStream(name, stream);
    const damaged = Buffer.from(stream);
    // the first entries of the last pass
    damaged.fill(0xff, (batches.at(-1) ?? 0) + 4, (batches.at(-1) ?? 0) + 36);
    const report = await convertLegacy(bytesSource(damaged, name), new MemorySink(), { partial: true });
    expect(report.losses.join("\n")).toContain("may be older than the guest's last state");
  });

  it("converts without what is lost, and says what is doubtful", { timeout: 60_000 }, async () => {
    const name = "hvm64-params";
    const { stream } = sample(name, place.folder);
    const { pages } = await knownStream(name, stream);
    const at = pages[Math.floor(pages.length / 2)]?.contents[0]?.[0] ?? 0;
    for (const [bytes, said] of [
      [Buffer.concat([stream.subarray(0, at), stream.subarray(at + 77)]), "contents are not all there"],
      [Buffer.concat([stream.subarray(0, at), Buffer.alloc(77, 0xa5), stream.subarray(at)]), "is doubtful"],
    ] as const) {
      const sink = new MemorySink();
      const report = await convertLegacy(bytesSource(bytes, name), sink, { partial: true, skipQemu: true });
      expect(report.losses.join("\n")).toContain(said);
      const converted = await openGuest(bytesSource(sink.bytes(), "converted"));
      expect(converted.vcpus.length).toBeGreaterThan(0);
    }
  });
});

describe("what is left of a legacy stream", () => {
  it("goes on at the next batch after many missing bytes, in step or not", { timeout: 60_000 }, async () => {
    const bytes = Buffer.from(sample("hvm64-live", place.folder).stream);
    const file = await knownStream("hvm64-live", bytes);
    const [, second = 0] = file.batches;
    // so many bytes that the tail comes at a multiple of four, and the batch before it doesn't
    for (const size of [774_283, 774_280]) {
      const at = 0xfaf13;
      const { rescue } = await file.open(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]));
      expect(rescue?.lost.map(({ end }) => end)).toEqual([second - size]);
    }
  });

  it("bytes missing from the second batch leave nothing to its head", { timeout: 60_000 }, async () => {
    const bytes = Buffer.from(sample("pv64-live", place.folder).stream);
    const { batches } = await knownStream("pv64-live", bytes);
    const [, second = 0, third = 0] = batches;
    const size = 1962;
    const at = Math.floor((second + third) / 2);
    const damaged = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]);
    const { rescue } = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect(rescue?.lost).toMatchObject([{ start: second, end: third - size }]);
    expect(rescue?.head).toBeUndefined();
  });

  it("zeros of a page that missing bytes moved are no end of the memory", { timeout: 60_000 }, async () => {
    const bytes = Buffer.from(sample("hvm64-live", place.folder).stream);
    const file = await knownStream("hvm64-live", bytes);
    const batch = file.batches.findLast((at) => at < 0x58b1d5) ?? 0;
    const guest = await file.open(Buffer.concat([bytes.subarray(0, 0x58b1d5), bytes.subarray(0x58b1e5)]));
    expect(guest.vcpus.length).toBe(1);
    expect(guest.rescue?.lost).toMatchObject([{ start: batch }]);
    const page = Buffer.alloc(PAGE);
    for (const place of file.pages) {
      const doubtful = guest.rescue?.doubtful.some(({ start, end }) => place.gpa >= start && place.gpa < end);
      if (doubtful === true || (await guest.memory.read(place.gpa, page)) < PAGE) continue;
      expect(page.equals(file.page(place)), place.gpa.toString(16)).toBe(true);
    }
  });

  it("converts when bytes are missing in its memory and its tail is whole", { timeout: 60_000 }, async () => {
    const name = "hvm64-params";
    const { stream } = sample(name, place.folder);
    const file = await knownStream(name, stream);
    const [batch = 0] = file.batches;
    // the entries of pages 3 and 4
    const damaged = Buffer.from(stream);
    damaged.fill(0xff, batch + 4 + 3 * 8, batch + 4 + 5 * 8);
    await expect(convertLegacy(bytesSource(damaged, name), new MemorySink())).rejects.toThrow();
    const sink = new MemorySink();
    const report = await convertLegacy(bytesSource(damaged, name), sink, { partial: true, skipQemu: true });
    expect(report.losses[0]).toContain("are lost");
    const converted = await openGuest(bytesSource(sink.bytes(), "converted"));
    for (const known of file.pages) {
      const page = Buffer.alloc(PAGE);
      const n = await converted.memory.read(known.gpa, page);
      const isLost = known.gpa === 3 * PAGE || known.gpa === 4 * PAGE;
      expect([known.gpa, n], `${known.gpa}`).toEqual([known.gpa, isLost ? 0 : PAGE]);
      if (!isLost) expect(page.equals(Buffer.from(file.page(known)))).toBe(true);
    }
  });
});

describe("a legacy stream without damage", () => {
  it.each(NAMES)("is read as it is, whole or cut: %s", { timeout: 60_000 }, async (name) => {
    const { stream } = sample(name, place.folder);
    for (const bytes of [stream, stream.subarray(0, Math.floor(stream.length * 0.61))]) {
      const opened = openGuest(bytesSource(bytes, name), { partial: true });
      // what is cut before its memory is no guest at all
      const guest = await opened.catch((error: unknown) =>
        bytes === stream ? Promise.reject(error) : undefined,
      );
      // of one that ends within memory what came before may be older; nothing is lost
      if (bytes === stream) expect(guest?.rescue).toBeUndefined();
      else expect(guest?.rescue?.lost ?? []).toEqual([]);
    }
  });
});
