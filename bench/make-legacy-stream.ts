import * as fs from "node:fs";
import { codePage, hvmContext, LegacyMaker, largeStream } from "../test/xen/legacy/make-legacy.js";

/** From here on what is written at once is contents of pages. */
const CONTENTS = 1 << 20;

/**
 * Writes a plain legacy stream of a guest of `pages` pages.
 * @param holes leave contents as holes of the file: what comes through a pipe is as much, and takes no memory
 */
export function makePlainStream(file: string, guest: "hvm" | "pv", pages: number, holes = false): void {
  const fd = fs.openSync(file, "w", 0o600);
  let at = 0;
  largeStream(guest, pages, (bytes) => {
    if (!holes || bytes.length < CONTENTS) fs.writeSync(fd, bytes, 0, bytes.length, at);
    at += bytes.length;
  });
  fs.ftruncateSync(fd, at);
  fs.closeSync(fd);
}

/** Pages that fit the sender's cache: all of them are coded as differences. */
const REMUS_PAGES = 8000;

/**
 * Writes a Remus stream whose checkpoints change a few words of every page and send them compressed.
 * Returns the bytes of pages that decoding yields.
 */
export function makeRemusStream(file: string, checkpoints: number): number {
  const fd = fs.openSync(file, "w", 0o600);
  const maker = new LegacyMaker(64, (bytes) => {
    fs.writeSync(fd, bytes);
  });
  const end = (): void => {
    maker.vcpuInfo(0, [0]).parameter(-3, 0xfeffe000n).toolstack([]).endOfBody();
    maker.hvmTail([1n, 2n, 3n], hvmContext(9)).qemu(new Uint8Array(60_000));
  };
  const memory = Array.from({ length: REMUS_PAGES }, (_, pfn) => new Uint8Array(4096).fill(pfn));
  const batches = Array.from({ length: Math.ceil(REMUS_PAGES / 1000) }, (_, i) =>
    Array.from({ length: 1000 }, (_, j) => i * 1000 + j),
  );
  maker.hvmHeader(REMUS_PAGES);
  for (const pfns of batches)
    maker.batch(pfns, Buffer.concat(pfns.map((pfn) => memory[pfn] ?? new Uint8Array(4096))));
  maker.tsc(0, 1n, 2_400_000, 1).u32(-13);
  end();
  for (let checkpoint = 1; checkpoint <= checkpoints; checkpoint += 1) {
    for (const pfns of batches) {
      const coded = pfns.map((pfn) => {
        const page = memory[pfn] ?? new Uint8Array(4096);
        const before = checkpoint === 1 ? undefined : page.slice();
        for (let i = 0; i < 12; i += 1)
          page.fill(
            checkpoint + i,
            ((pfn * 13 + i * 331) % 1000) * 4,
            ((pfn * 13 + i * 331) % 1000) * 4 + 40,
          );
        return codePage(before, page);
      });
      maker.batch(pfns).compressed(Buffer.concat(coded));
    }
    end();
  }
  fs.closeSync(fd);
  return checkpoints * REMUS_PAGES * 4096;
}
