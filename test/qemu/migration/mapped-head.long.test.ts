import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openGuest } from "../../../src/open/open.js";
import { readStream } from "../../../src/qemu/migration/read.js";
import { DAMAGE_KINDS, damage, randoms } from "../../guest/damage-oracle.js";
import { rounds, scratch } from "../../shared.js";
import { readPages, wrongPages } from "./pages.js";
import { noSamples, unpackSample } from "./samples.js";

installNodeCodecs();
const place = scratch();
afterAll(place.cleanup);

const options = { partial: true, findKernel: false } as const;
/** Name, instance and version of the section `ram`. */
const RAM = Buffer.from([3, 0x72, 0x61, 0x6d, 0, 0, 0, 0, 0, 0, 0, 4]);

interface Block {
  readonly name: string;
  /** Where its entry, its header and its pages are. */
  readonly at: number;
  readonly header: number;
  readonly bitmap: number;
  readonly pages: number;
  readonly length: number;
}

async function sample(): Promise<{ bytes: Buffer; ram: number; blocks: Block[] }> {
  const bytes = fs.readFileSync(unpackSample("tiny-mapped10", place.folder));
  const { ram } = await readStream(bytesSource(bytes), new StrictDiagnostics("whole"), { forReading: true });
  const blocks = (ram?.blocks ?? []).map(({ name, length, mapped }) => {
    const bitmap = mapped?.bitmapOffset ?? 0;
    const at = bitmap - 28 - 8 - name.length - 1;
    return { name, length, bitmap, header: bitmap - 28, at, pages: mapped?.pagesOffset ?? 0 };
  });
  return { bytes, ram: bytes.indexOf(RAM) - 5, blocks };
}

const DAMAGES: readonly [string, (block: Block) => readonly [number, number]][] = [
  ["the length of the name", ({ at }) => [at, at + 1]],
  ["the name", ({ at, header }) => [at + 1, header - 8]],
  ["the length", ({ header }) => [header - 8, header]],
  ["the name and the length", ({ at, header }) => [at, header]],
  ["version and page size", ({ header }) => [header, header + 12]],
  ["the place of the bitmap", ({ header }) => [header + 12, header + 20]],
  ["the place of the pages", ({ header }) => [header + 20, header + 28]],
  ["the header", ({ header }) => [header, header + 28]],
  ["all but the name", ({ header }) => [header - 8, header + 28]],
  ["the entry", ({ at, bitmap }) => [at, bitmap]],
];

describe.skipIf(noSamples)("a mapped-ram file whose list of blocks is damaged", () => {
  it.each(DAMAGES)("%s", async (_, rangeOf) => {
    const { bytes, blocks } = await sample();
    expect(blocks.length).toBeGreaterThan(3);
    const whole = await openGuest(bytesSource(bytes, "whole"), options);
    expect(whole.rescue).toBeUndefined();
    const pages = await readPages(whole);
    for (const [i, block] of blocks.entries())
      for (const fill of [0, 0xff, 0xa5]) {
        const [start, end] = rangeOf(block);
        const damaged = Buffer.from(bytes).fill(fill, start, end);
        if (damaged.equals(bytes)) continue;
        const guest = await openGuest(bytesSource(damaged, "damaged"), options);
        const where = `block ${i} '${block.name}', filled with ${fill}`;
        const found = await readPages(guest);
        expect(wrongPages(found, pages), where).toEqual([]);
        expect(found.size, where).toBeGreaterThan(0.95 * pages.size);
        expect(guest.vcpus.length, where).toBe(whole.vcpus.length);
        expect(guest.rescue?.lost.at(0)?.start, where).toBeLessThanOrEqual(start);
        expect(guest.rescue?.lost.at(-1)?.end, where).toBeGreaterThanOrEqual(end);
        await guest.close?.();
      }
  });

  it("all of the head, and any of it", async () => {
    const { bytes, ram, blocks } = await sample();
    const whole = await openGuest(bytesSource(bytes, "whole"), options);
    const pages = await readPages(whole);
    const [first] = blocks;
    const head = first?.bitmap ?? 0;
    const next = randoms(5);
    const any = Array.from({ length: rounds(24) }, () => {
      const start = Math.floor(next() * head);
      return [start, Math.min(head, start + Math.ceil(next() * 40))] as const;
    });
    for (const [start, end] of [[0, head], [ram, head], [0, ram + 20], [ram, ram + 25], ...any] as const) {
      const kind = DAMAGE_KINDS[Math.floor(next() * 3)] ?? "zeros";
      const damaged = damage(bytes, kind, start, end, next);
      const where = `${kind} from ${start} to ${end}`;
      const guest = await openGuest(bytesSource(damaged, "damaged"), options);
      const found = await readPages(guest);
      expect(wrongPages(found, pages), where).toEqual([]);
      expect(found.size, where).toBeGreaterThan(0.95 * pages.size);
      await guest.close?.();
    }
  });
});
