import { describe, expect, it } from "vitest";
import * as seeds from "../../../fuzz/seeds.js";
import { Report } from "../../../src/findings/report.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { avml } from "../../../src/vmcore/avml/format.js";
import { avmlHeader } from "../../../src/vmcore/avml/layout.js";
import { readDump } from "../../../src/vmcore/avml/read.js";
import {
  DAMAGE_KINDS,
  damage,
  damageSize,
  expectRescue,
  type KnownFile,
  randoms,
} from "../../guest/damage-oracle.js";
import { plainData } from "../../io/codecs/frames/plain-data.js";
import { isEverything, rounds, STRIDE } from "../../shared.js";
import { dump } from "./made-dump.js";

const PAGE = 4096;

/** A machine's memory: a small range, then blocks that follow one another, and more after a hole. */
async function knownDump(isPackedSize = false): Promise<KnownFile> {
  const shapes = [
    [0x1000, 0x9e],
    [0x100000, 0x100],
    [0x200000, 0x100],
    [0x300000, 0x100],
    [0x400000, 0x80],
    [0x1000000, 0x100],
    [0x1100000, 0x30],
  ] as const;
  const memory = plainData(shapes.reduce((sum, [, pages]) => sum + pages * PAGE, 0));
  let at = 0;
  const blocks = shapes.map(([start, pages]) => {
    const contents = memory.subarray(at, (at += pages * PAGE));
    const made = { start, contents };
    const packed = isPackedSize ? BigInt(dump([made]).length - avmlHeader.size - 8) : undefined;
    return packed === undefined ? made : { ...made, trailer: packed };
  });
  const bytes = Buffer.from(dump(blocks));
  const { blocks: read, chunks } = await readDump(bytesSource(bytes), new Report("made"));
  const pages = read.flatMap(({ start, offset, firstChunk, endChunk }) => {
    let gpa = start;
    return Array.from({ length: endChunk - firstChunk }, (_, i) => firstChunk + i).flatMap((chunk) => {
      const first = gpa;
      gpa += chunks.length(chunk);
      const data = chunks.offset(chunk);
      return Array.from({ length: chunks.length(chunk) / PAGE }, (__, i) => ({
        gpa: first + i * PAGE,
        size: PAGE,
        contents: [[data, chunks.size(chunk)] as const],
        index: [[offset, avmlHeader.size] as const, [data - 8, 8] as const],
      }));
    });
  });
  const byAddress = new Map<number, Uint8Array>();
  for (const { start, contents } of blocks)
    for (let i = 0; i < contents.length; i += PAGE) byAddress.set(start + i, contents.subarray(i, i + PAGE));
  return {
    bytes,
    pages,
    page: ({ gpa }) => byAddress.get(gpa) ?? new Uint8Array(0),
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true }),
  };
}

/** Offsets of blocks' headers. */
const headersOf = (file: KnownFile): number[] => [
  ...new Set(file.pages.map(({ index }) => index[0]?.[0] ?? 0)),
];

describe("a compressed AVML dump that is damaged", () => {
  it.each([false, true])("gives what lies outside of the damage (packed sizes: %s)", async (isPackedSize) => {
    const file = await knownDump(isPackedSize);
    const headers = headersOf(file);
    for (const kind of DAMAGE_KINDS) {
      const next = randoms(kind.length * 131 + (isPackedSize ? 1 : 0));
      for (let round = 0; round < rounds(isEverything ? 40 : 4); round += 1) {
        const size = Math.min(damageSize(kind, next), file.bytes.length >> 4);
        const header = headers[Math.floor(next() * headers.length)] ?? 0;
        const chunk = file.pages[Math.floor(next() * file.pages.length)]?.index[1]?.[0] ?? 0;
        const target = [
          header + Math.floor(next() * 32),
          chunk + Math.floor(next() * 12),
          Math.floor(next() * (file.bytes.length - size)),
          Math.max(0, header - Math.floor(next() * 2 * size)),
        ][round % 4];
        await expectRescue(file, kind, target ?? 0, size, next);
      }
    }
  });

  it("is not read at a wrong address when a bit of a header or of a chunk's is another", async () => {
    const file = await knownDump();
    const next = randoms(5);
    const chunks = [...new Set(file.pages.map(({ index }) => index[1]?.[0] ?? 0))];
    const places = [
      ...headersOf(file).flatMap((at) => Array.from({ length: 24 }, (_, i) => at + i)),
      ...chunks.slice(3, 8).flatMap((at) => Array.from({ length: 12 }, (_, i) => at + i)),
    ];
    for (let i = 0; i < places.length; i += 2 * STRIDE - 1)
      await expectRescue(file, "flip", places[i] ?? 0, 1, next);
  });

  it("loses nothing but the header where that is between neighbours, and says so", async () => {
    const file = await knownDump();
    const header = headersOf(file)[2] ?? 0;
    const bytes = damage(file.bytes, "ones", header, header + avmlHeader.size, () => 0);
    const guest = await file.open(bytes);
    const into = new Uint8Array(PAGE);
    for (const place of file.pages) {
      expect(await guest.memory.read(place.gpa, into)).toBe(PAGE);
      expect(Buffer.compare(into, file.page(place))).toBe(0);
    }
    expect(guest.rescue?.lost).toMatchObject([{ start: header, end: header + 32 }]);
    await expect(openGuest(bytesSource(bytes))).rejects.toMatchObject({ code: "vmcore/avml/header" });
  });

  it("is known by what follows its first header, and nothing else is taken for one", async () => {
    const file = await knownDump();
    const next = randoms(9);
    for (const size of isEverything ? [4, 8, 32, 4096] : [32]) {
      await expectRescue(file, "noise", 0, size, next);
      const damaged = bytesSource(damage(file.bytes, "noise", 0, size, next));
      await expect(openGuest(damaged)).rejects.toMatchObject({ code: "open/damaged-head" });
    }
    const others = { ...seeds.legacyStreams(), ...(await seeds.limes()), ...(await seeds.kdumps()) };
    for (const [name, bytes] of Object.entries(others)) {
      const damaged = damage(Buffer.from(bytes), "noise", 0, Math.min(4096, bytes.length), next);
      expect(await avml.matchesDamaged?.(bytesSource(damaged)), name).toBe(false);
    }
  });
});
