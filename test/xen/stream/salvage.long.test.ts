import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openGuest } from "../../../src/open/open.js";
import {
  DAMAGE_KINDS,
  damageSize,
  expectRescue,
  expectShiftRescue,
  type KnownFile,
  randoms,
} from "../../guest/damage-oracle.js";
import { knownStream } from "./known-stream.js";
import { makeStream } from "./stream-maker.js";
import { hasShared, rounds, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

installNodeCodecs();
const PAGE = 4096;
const place = scratch();
afterAll(place.cleanup);

describe.skipIf(skipUnless(hasShared, "shared data"))("a Xen stream that is damaged in its middle", () => {
  const known = (name = "hvm64.save"): Promise<KnownFile> =>
    knownStream(fs.readFileSync(unzstd(`${sharedData}/xen-v3/${name}.zst`, place.folder)));

  it("of a guest that ran gives a page as it was last, or says that it may be older", {
    timeout: 300_000,
  }, async () => {
    const file = await known("hvm64-live.stream");
    const next = randoms(20261129);
    const lastPass = Math.max(...file.pages.map(({ index }) => index[0]?.[0] ?? 0)) - (5 << 20);
    const records = new Set(file.pages.flatMap(({ index: [at = [0]] }) => (at[0] > lastPass ? [at[0]] : [])));
    expect(records.size).toBe(2);
    let [doubtful, older] = [0, 0];
    // headers of records of the last pass, their entries, and any place of the passes before
    const places = [...records].flatMap((at) => [at, at + 24 + 8 * Math.floor(next() * 1000)]);
    for (const at of [...places, lastPass - next() * 1.6e7]) {
      const kind = "noise";
      const found = await expectRescue(file, kind, Math.floor(at), damageSize(kind, next), next);
      doubtful += found.doubtful;
      older += found.older;
    }
    expect(older).toBeGreaterThan(0);
    expect(doubtful).toBeGreaterThan(older);
  });

  it.each(DAMAGE_KINDS)("gives what lies outside of the damage: %s", { timeout: 120_000 }, async (kind) => {
    const file = await known();
    const next = randoms(kind.length * 7919);
    for (let round = 0; round < rounds(12); round += 1) {
      const size = damageSize(kind, next);
      // also right at a record's header
      const some = file.pages[Math.floor(next() * file.pages.length)];
      const target = round % 3 === 0 ? some?.index[0]?.[0] : undefined;
      const start = target ?? Math.floor(next() * (file.bytes.length - size - (1 << 16)));
      await expectRescue(file, kind, Math.max(8192, start), size, next);
    }
  });

  it.each(["missing", "inserted"] as const)(
    "gives other records' memory, and doubts that of the record where bytes are %s",
    { timeout: 120_000 },
    async (kind) => {
      const file = await known();
      const next = randoms(kind.length * 104729);
      for (let round = 0; round < rounds(10); round += 1) {
        // a few bytes, many, and such a number that records stay where they may begin
        const size = Math.ceil(2 ** (next() * 14)) * (round % 3 === 0 ? 8 : 1);
        const hit = file.pages[Math.floor(next() * file.pages.length)];
        expect(hit !== undefined && (await expectShiftRescue(file, kind, hit, size, next))).toBe(true);
      }
    },
  );
});

it.each([1, 3, 7, 100])("memory of a batch that got %i bytes too many is doubtful", async (size) => {
  const shape = { guest: "pv", version: 3, layer: "xl", order: "little", pages: 9 } as const;
  const file = await knownStream(Buffer.from(makeStream(shape)));
  const at = (file.pages[3]?.contents[0]?.[0] ?? 0) + 100;
  const longer = Buffer.concat([
    file.bytes.subarray(0, at),
    Buffer.alloc(size, 0x5a),
    file.bytes.subarray(at),
  ]);
  const { memory, rescue } = await file.open(longer);
  const page = Buffer.alloc(PAGE);
  let doubted = 0;
  for (const known of file.pages) {
    const isDoubtful = rescue?.doubtful.some(({ start, end }) => known.gpa >= start && known.gpa < end);
    if (isDoubtful === true) doubted += 1;
    else if ((await memory.read(known.gpa, page)) === PAGE) expect(page.equals(file.page(known))).toBe(true);
  }
  expect(doubted).toBeGreaterThan(0);
});

it.each([0x03, 0x09, 0x11, 0x8000_0001])(
  "a batch whose record is of type %i is found by its entries",
  async (type) => {
    const bytes = Buffer.from(
      makeStream({ guest: "hvm", version: 3, layer: "xl", order: "little", pages: 9 }),
    );
    const file = await knownStream(bytes);
    const damaged = Buffer.from(bytes);
    const at = file.pages[0]?.index[0]?.[0] ?? 0;
    damaged.writeUInt32LE(type, at);
    const { memory, rescue } = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect(rescue?.lost).toMatchObject([{ start: at, end: at + 4 }]);
    const into = Buffer.alloc(PAGE);
    for (const known of file.pages) {
      expect(await memory.read(known.gpa, into)).toBe(PAGE);
      expect(into.equals(file.page(known))).toBe(true);
    }
  },
);

it("zeros that are read as END, with bytes after them and no vCPU before, are no end", async () => {
  const bytes = makeStream({ guest: "hvm", version: 3, layer: "xl", order: "little", pages: 9 });
  const [first] = (await knownStream(Buffer.from(bytes))).pages;
  const at = first?.index[0]?.[0] ?? 0;
  const shifted = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(64), bytes.subarray(at)]);
  await expect(openGuest(bytesSource(shifted, "shifted"))).rejects.toThrow(/what is read as END is none/);
  const guest = await openGuest(bytesSource(shifted, "shifted"), { partial: true });
  const whole = await openGuest(bytesSource(Buffer.from(bytes), "whole"));
  expect(guest.vcpus.length).toBe(whole.vcpus.length);
  const page = Buffer.alloc(PAGE);
  expect(await guest.memory.read(first?.gpa ?? 0, page)).toBe(PAGE);
});
