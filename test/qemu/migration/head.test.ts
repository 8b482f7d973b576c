import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openGuest } from "../../../src/open/open.js";
import { scratch } from "../../shared.js";
import { readPages, wrongPages } from "./pages.js";
import { noSamples, unpackSample } from "./samples.js";

installNodeCodecs();
const place = scratch();
afterAll(place.cleanup);

const options = { partial: true, findKernel: false } as const;
/** Name, instance and version of the section `ram`. */
const RAM = Buffer.from([3, 0x72, 0x61, 0x6d, 0, 0, 0, 0, 0, 0, 0, 4]);

describe.skipIf(noSamples)("a QEMU stream whose head is damaged", () => {
  const name = "tiny-compress";
  const read = (): { bytes: Buffer; ram: number; first: number; end: number } => {
    const bytes = fs.readFileSync(unpackSample(name, place.folder));
    const ram = bytes.indexOf(RAM) - 5;
    const end = bytes.indexOf(Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e]), ram);
    return { bytes, ram, first: ram + 25, end };
  };

  it.each([
    ["magic", () => [0, 4]],
    ["version", () => [4, 8]],
    ["the mark of the configuration", () => [8, 9]],
    ["the length of the machine's name", () => [9, 13]],
    ["the machine's name", () => [13, 20]],
    ["all before RAM", ({ ram }) => [0, ram]],
    ["the head of the section", ({ ram }) => [ram, ram + 17]],
    ["the sum of the list", ({ ram }) => [ram + 17, ram + 25]],
    ["the length of a name in the list", ({ first }) => [first, first + 1]],
    ["a name in the list", ({ first }) => [first + 1, first + 3]],
    ["the length of a block", ({ first }) => [first + 7, first + 15]],
    ["half of the list", ({ first, end }) => [first, (first + end) >> 1]],
    ["all of the list", ({ first, end }) => [first, end]],
    ["all of the head", ({ end }) => [0, end + 13]],
    ["all of the head, and the first records", ({ end }) => [0, end + 64]],
  ] satisfies [string, (at: ReturnType<typeof read>) => [number, number]][])("%s", async (_, damageOf) => {
    const sample = read();
    const { bytes } = sample;
    const [start, end] = damageOf(sample);
    const whole = await openGuest(bytesSource(bytes, "whole"), options);
    const pages = await readPages(whole);
    for (const fill of [0, 0xff, 0xa5]) {
      const damaged = Buffer.from(bytes).fill(fill, start, end);
      const guest = await openGuest(bytesSource(damaged, "damaged"), options);
      const found = await readPages(guest);
      expect(wrongPages(found, pages)).toEqual([]);
      expect(found.size).toBeGreaterThan(0.95 * pages.size);
      expect(guest.vcpus.length).toBe(whole.vcpus.length);
      expect(guest.rescue?.lost[0]?.start).toBeLessThanOrEqual(start);
      expect(guest.rescue?.lost.at(-1)?.end).toBeGreaterThanOrEqual(end);
      await guest.close?.();
    }
  });

  it("is refused without `partial`, with what reads it", async () => {
    const damaged = read().bytes.fill(0xa5, 0, 8);
    await expect(openGuest(bytesSource(damaged, "damaged"))).rejects.toMatchObject({
      code: "open/damaged-head",
      remedy: { option: "partial" },
    });
  });
});
