import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { readPages, wrongPages } from "./pages.js";
import { type Block, collect, pcDevices } from "./qevm-writer.js";

const SIZE = 2 << 20;
const ROM = 0x10000;
const HUGE = 2 << 20;
const options = { findKernel: false, partial: true } as const;

/** A stream of a small PC; blocks with `isSent` false are in a shared file. */
function streamOf(capabilities: readonly string[], blocks: readonly (Block & { isSent: boolean })[]): Buffer {
  return collect((writer) => {
    writer.header().configuration("pc-i440fx-7.2", capabilities).startRam(blocks);
    writer.ram(true, () => {
      for (const { name, length } of blocks.filter(({ isSent }) => isSent))
        for (let at = 0; at < length; at += 4096)
          writer.plain(name, at, Buffer.alloc(4096, 1 + (at >> 12) + name.length));
    });
    pcDevices(writer, SIZE, 0);
    writer.end();
  });
}

const KINDS = [
  [
    "addresses",
    streamOf(
      ["x-ignore-shared"],
      [
        { name: "pc.ram", length: SIZE, after: [0], isSent: true },
        { name: "shared0", length: 2 * SIZE, after: [0], isSent: false },
        { name: "pc.bios", length: ROM, after: [0xffff0000], isSent: true },
      ],
    ),
  ],
  [
    "sizes of huge pages",
    streamOf(
      [],
      [
        { name: "pc.ram", length: SIZE, after: [HUGE], isSent: true },
        { name: "pc.bios", length: ROM, isSent: true },
      ],
    ),
  ],
] as const;

describe.each(KINDS)("a list of blocks with %s, damaged", (_, bytes) => {
  const entry = bytes.indexOf("\x06pc.ram", 0, "latin1");
  const bios = bytes.indexOf("\x07pc.bios", entry, "latin1");

  it.each([
    ["all before the section", 0, entry - 25],
    ["the length of a name", entry, 1],
    ["a name", entry + 1, 6],
    ["a length", entry + 7, 8],
    ["what follows a length", entry + 15, 8],
    ["a whole entry", entry, 23],
    ["the last name", bios + 1, 7],
    ["the last length", bios + 8, 8],
    ["the sum", entry - 8, 8],
  ] as const)("in %s", async (what, at, length) => {
    const whole = await readPages(await openGuest(bytesSource(bytes, "whole"), options));
    expect(whole.size).toBeGreaterThan(500);
    for (const fill of [0, 0x5a, 0xff]) {
      const damaged = Buffer.from(bytes).fill(fill, at, at + length);
      const guest = await openGuest(bytesSource(damaged, "damaged"), options);
      const found = await readPages(guest);
      expect(wrongPages(found, whole), `${what} ${fill}`).toEqual([]);
      expect(found.size, `${what} ${fill}`).toBeGreaterThan(0.95 * whole.size);
    }
  });
});
