import * as fs from "node:fs";
import * as os from "node:os";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, SystemError } from "../../src/findings/errors.js";
import { NOWHERE, reasonCode, tokenCode } from "../../src/guest/page-codes.js";
import { PageIndex } from "../../src/guest/page-index.js";
import { MemorySpool } from "../../src/io/spool.js";
import type { SpillFile } from "../../src/io/spill.js";
import { openSpillFile } from "../../src/io/node/spill-file.js";
import { rounds } from "../shared.js";

const PAGE = 4096;

/** A scratch file in memory that counts. */
function counted(): { readonly open: () => SpillFile; readonly seen: { writes: number; reads: number } } {
  const seen = { writes: 0, reads: 0 };
  const spool = new MemorySpool();
  return {
    seen,
    open: () => ({
      write: (offset, bytes) => {
        seen.writes += 1;
        spool.writeAt(offset, bytes);
      },
      read: (offset, into) => {
        seen.reads += 1;
        expect(spool.read(offset, into)).toBe(into.length);
      },
    }),
  };
}

type Step = { readonly first: number; readonly count: number; readonly code: number; readonly gap: number };

const step: fc.Arbitrary<Step> = fc.record({
  // a few groups of 65,536 frames, near their borders and within
  first: fc.oneof(
    fc.nat(700_000),
    fc
      .tuple(fc.nat(9), fc.integer({ min: -20, max: 20 }))
      .map(([group, near]) => Math.max(0, group * 65_536 + near)),
    fc.tuple(fc.nat(9), fc.nat(5000)).map(([group, page]) => group * 65_536 + page * 13),
  ),
  count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 9000 })),
  code: fc.oneof(
    fc.nat(2 ** 31),
    fc.nat(2 ** 30).map((n) => n * 4096 * 1024),
    fc.constant(2 ** 52),
    fc.nat(9).map(reasonCode),
    fc.nat(2 ** 31).map((token) => tokenCode(token * 2)),
    fc.constant(NOWHERE),
  ),
  gap: fc.constantFrom(0, 0, 0, 8),
});

function put(index: PageIndex, { first, count, code, gap }: Step): void {
  if (gap > 0 && code >= 0) index.setSpaced(first, count, code, PAGE + gap);
  else index.set(first, count, code);
}

/** Every run, as text. */
function walked(index: PageIndex, kinds: boolean): string[] {
  const lines: string[] = [];
  const walk = index.runs(100, 2 ** 41, kinds);
  while (walk.next()) lines.push(`${walk.frame} ${walk.count} ${walk.code}`);
  return lines;
}

/** Every page's code, however runs are cut. */
function codes(index: PageIndex): string {
  const parts: string[] = [];
  const walk = index.runs(0, 2 ** 41);
  let next = -1;
  let expected = NOWHERE;
  while (walk.next()) {
    if (walk.frame !== next || walk.code !== expected) parts.push(`${walk.frame} ${walk.code}`);
    next = walk.frame + walk.count;
    expected = index.advanced(walk.code, walk.count);
    parts.push(`to ${next}`);
  }
  // only where one run ends and another doesn't go on
  return parts
    .filter((part, i) => !part.startsWith("to") || parts[i + 1]?.startsWith("to") !== true)
    .join("\n");
}

describe("a page index that spills", () => {
  it("answers as one that keeps everything in memory, whatever is set, asked and walked in between", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(step, fc.nat(700_000), fc.boolean()), { minLength: 1, maxLength: 60 }),
        fc.constantFrom(1, 3000, 60_000),
        (steps, resident) => {
          const { open } = counted();
          const spilling = new PageIndex(PAGE, { open, resident });
          const plain = new PageIndex(PAGE, { open, resident: Number.POSITIVE_INFINITY });
          for (const [one, asked, isAsked] of steps) {
            put(spilling, one);
            put(plain, one);
            for (const frame of isAsked
              ? [asked, one.first, one.first + one.count - 1, one.first + one.count]
              : [])
              expect(spilling.get(frame)).toBe(plain.get(frame));
          }
          expect(codes(spilling)).toBe(codes(plain));
          for (const [{ first, count }] of steps)
            for (const frame of [first, first + count - 1, first + (count >> 1)])
              expect(spilling.get(frame)).toBe(plain.get(frame));
        },
      ),
      { numRuns: rounds(150) },
    );
  });

  it("keeps what it may in memory and puts the rest into the file", () => {
    const { open, seen } = counted();
    const resident = 1 << 20;
    const index = new PageIndex(PAGE, { open, resident });
    const plain = new PageIndex(PAGE, { open, resident: Number.POSITIVE_INFINITY });
    const pages = 2 ** 20;
    // an odd multiplier walks through all frames of a power of two once
    for (let i = 0; i < pages; i += 1) {
      const frame = (Math.imul(i, 0x9e37_79b1) >>> 0) % pages;
      index.set(frame, 1, i * 5000);
      plain.set(frame, 1, i * 5000);
    }
    expect(seen.writes).toBeGreaterThan(10);
    expect(walked(index, false)).toEqual(walked(plain, false));
    expect(walked(index, true)).toEqual(walked(plain, true));
    for (let frame = 0; frame < pages; frame += 997) expect(index.get(frame)).toBe(plain.get(frame));
  });

  it("changes pages that are in the file again and again", () => {
    const { open } = counted();
    const index = new PageIndex(PAGE, { open, resident: 1 });
    for (let round = 0; round < 300; round += 1)
      for (let group = 0; group < 3; group += 1)
        index.set(group * 65_536 + (round % 50), 1, round * 10_000 + group);
    for (let group = 0; group < 3; group += 1)
      for (let page = 0; page < 50; page += 1)
        expect(index.get(group * 65_536 + page)).toBe((250 + page) * 10_000 + group);
  });

  it("needs no file where it fits", () => {
    const { open, seen } = counted();
    const index = new PageIndex(PAGE, { open });
    index.set(0, 2 ** 28, 4096);
    expect(index.get(2 ** 27)).toBe(4096 + 2 ** 39);
    expect(seen.writes).toBe(0);
  });

  it("refuses memory scattered beyond any machine, also where it spills", () => {
    const { open } = counted();
    const index = new PageIndex(PAGE, { open, resident: 1 << 20 });
    expect(() => {
      for (let i = 0; i <= 2 ** 20; i += 1) index.set(i * 4096, 1, 0);
    }).toThrow(FormatError);
  });

  it("an error of the file names it, and its cause", () => {
    const full = (): SpillFile => ({
      write: () => {
        throw new SystemError("os/ENOSPC", "no space left on the device", { source: "index file in /tmp" });
      },
      read: () => undefined,
    });
    const index = new PageIndex(PAGE, { open: full, resident: 1 });
    expect(() => {
      for (let i = 0; i < 200_000; i += 1) index.set((i % 300) * 65_536 + i, 1, i * 5000);
    }).toThrow(/no space left/);
  });
});

describe("the scratch file", () => {
  it("has no name in its folder, and gives back what was written", () => {
    const folder = fs.mkdtempSync(`${os.tmpdir()}/spill-`);
    const file = openSpillFile(folder);
    expect(fs.readdirSync(folder)).toEqual([]);
    file.write(0, Uint8Array.of(1, 2, 3));
    file.write(10_000_000_000, Uint8Array.of(4, 5));
    const into = new Uint8Array(2);
    file.read(10_000_000_000, into);
    expect(into).toEqual(Uint8Array.of(4, 5));
    expect(() => file.read(10_000_000_001, into)).toThrow(/shorter than what was written/);
    fs.rmdirSync(folder);
  });

  it("says where it can't be", () => {
    expect(() => openSpillFile("/nowhere")).toThrow(/no such file/);
    try {
      openSpillFile("/nowhere");
    } catch (error) {
      expect((error as SystemError).place.source).toBe("index file in /nowhere");
    }
  });

  it.skipIf(!fs.existsSync("/dev/full"))("a device without room is an error of its own", () => {
    const fd = fs.openSync("/dev/full", "w");
    expect(() => fs.writeSync(fd, Buffer.alloc(10))).toThrow(/ENOSPC/);
    fs.closeSync(fd);
  });
});
