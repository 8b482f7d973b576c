import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pacedSource } from "../../viewer/src/session/paced-source.js";
import { cachedSource, type SyncSource } from "../../viewer/src/session/cached-source.js";

/** A source of `bytes` that counts its reads. */
function counted(bytes: Uint8Array): { readonly source: SyncSource; readonly reads: number[] } {
  const reads: number[] = [];
  const source: SyncSource = {
    name: "counted",
    size: bytes.length,
    read(offset, into) {
      const part = bytes.subarray(offset, offset + into.length);
      reads.push(part.length);
      into.set(part);
      return part.length;
    },
    readTogether(offsets, size) {
      reads.push(offsets.length * size);
      const all = new Uint8Array(offsets.length * size);
      for (const [i, offset] of offsets.entries()) all.set(bytes.subarray(offset, offset + size), i * size);
      return all;
    },
  };
  return { source, reads };
}

const OPTIONS = { sector: 64, jump: 4, ahead: 16, together: 8, keep: 64 };

describe("cachedSource", () => {
  it("reads what the source holds, in any order", () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) >> 3);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(6000), fc.nat(900)), { maxLength: 30 }),
        fc.record({
          sector: fc.constantFrom(16, 64, 256),
          jump: fc.integer({ min: 1, max: 8 }),
          ahead: fc.integer({ min: 1, max: 64 }),
          together: fc.integer({ min: 1, max: 9 }),
          keep: fc.integer({ min: 64, max: 100 }),
        }),
        (reads, options) => {
          const source = cachedSource(counted(bytes).source, options);
          for (const [offset, length] of reads) {
            const into = new Uint8Array(length);
            const n = source.read(offset, into);
            const expected = bytes.subarray(offset, offset + length);
            expect(n).toBe(expected.length);
            expect(Buffer.compare(into.subarray(0, n), expected)).toBe(0);
          }
        },
      ),
    );
  });

  it("reads the heads of records together, where all are as long", () => {
    const { source, reads } = counted(new Uint8Array(100_000));
    const cached = cachedSource(source, OPTIONS);
    for (let at = 7; at < 90_000; at += 5003) {
      cached.read(at, new Uint8Array(8));
      cached.read(at + 8, new Uint8Array(120));
    }
    expect(reads.length).toBeLessThan(9);
  });

  it("reads what leaps of one length lead to", () => {
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7919) >> 3);
    fc.assert(
      fc.property(fc.nat(300), fc.integer({ min: 200, max: 9000 }), (start, leap) => {
        const cached = cachedSource(counted(bytes).source, OPTIONS);
        for (let at = start; at < bytes.length; at += leap) {
          const into = new Uint8Array(100);
          const n = cached.read(at, into);
          expect(Buffer.compare(into.subarray(0, n), bytes.subarray(at, at + 100))).toBe(0);
        }
      }),
    );
  });

  it("reads ahead of what is read in order", () => {
    const { source, reads } = counted(new Uint8Array(64 * 1024));
    const cached = cachedSource(source, OPTIONS);
    for (let at = 0; at < source.size; at += 64) cached.read(at, new Uint8Array(64));
    expect(Math.max(...reads)).toBe(OPTIONS.ahead * OPTIONS.sector);
    expect(reads.length).toBeLessThan(70);
  });
});

describe("pacedSource", () => {
  it("lets others have a turn while it is read on and on", async () => {
    const source = pacedSource(counted(Uint8Array.from({ length: 100 }, (_, i) => i)).source, 5);
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    const into = new Uint8Array(1);
    const end = performance.now() + 100;
    while (performance.now() < end) {
      const read = source.read(42, into);
      expect(read instanceof Promise ? await read : read).toBe(1);
      expect(into[0]).toBe(42);
    }
    clearInterval(timer);
    expect(turns).toBeGreaterThan(2);
  });
});
