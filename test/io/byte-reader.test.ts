import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteReader } from "../../src/io/byte-reader.js";
import { MemorySink } from "../../src/io/byte-sink.js";
import {
  type ByteSource,
  type ByteStream,
  bytesSource,
  sliceSource,
  streamOf,
} from "../../src/io/byte-source.js";
import { rounds } from "../shared.js";

const counting = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** A stream that hands out pieces of the given sizes, now and then by a promise. */
function choppy(bytes: Uint8Array, sizes: readonly number[]): ByteStream & { taken: number } {
  let call = 0;
  return {
    name: "choppy",
    taken: 0,
    read(into) {
      const piece = Math.min(into.length, sizes[call % sizes.length] ?? 1, bytes.length - this.taken);
      into.set(bytes.subarray(this.taken, this.taken + piece));
      this.taken += piece;
      call += 1;
      return call % 3 === 0 ? Promise.resolve(piece) : piece;
    },
  };
}

/** A source that answers later, as files do, and now and then with less than asked for. */
function slow(bytes: Uint8Array, sizes: readonly number[]): ByteSource {
  const inner = bytesSource(bytes);
  let call = 0;
  return {
    ...inner,
    async read(offset, into) {
      call += 1;
      const short = call % 4 === 0 ? (sizes[call % sizes.length] ?? 1) : into.length;
      return inner.read(offset, into.subarray(0, short));
    },
  };
}

const inputs: Record<
  "source" | "slow source" | "stream",
  (bytes: Uint8Array, sizes: readonly number[]) => ByteSource | ByteStream
> = { source: (bytes) => bytesSource(bytes), "slow source": slow, stream: choppy };

const operation = fc.oneof(
  fc.record({ kind: fc.constant("take" as const), count: fc.integer({ min: 0, max: 9000 }) }),
  fc.record({ kind: fc.constant("skip" as const), count: fc.integer({ min: 0, max: 9000 }) }),
  fc.record({ kind: fc.constant("fill" as const), count: fc.integer({ min: 0, max: 9000 }) }),
  fc.record({ kind: fc.constant("copy" as const), count: fc.integer({ min: 0, max: 9000 }) }),
);

describe("ByteReader", () => {
  it("reads the same whatever the input, the window and the pieces", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 100_000 }),
        fc.array(operation, { maxLength: 24 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 }),
        fc.constantFrom("source" as const, "slow source" as const, "stream" as const),
        fc.constantFrom(4096, 5000, 1 << 20),
        fc.boolean(),
        async (length, operations, sizes, input, window, exact) => {
          const bytes = counting(length);
          const reader = new ByteReader(inputs[input](bytes, sizes), {
            window,
            exact,
          });
          let at = 0;
          for (const { kind, count } of operations) {
            const left = Math.min(count, length - at);
            if (kind === "take") {
              expect(await reader.need(count)).toBe(left === count);
              expect(Buffer.compare(reader.take(left), bytes.subarray(at, at + left))).toBe(0);
            } else if (kind === "skip") {
              expect(await reader.skip(count)).toBe(left);
            } else if (kind === "fill") {
              const into = new Uint8Array(count);
              expect(await reader.readInto(into)).toBe(left);
              expect(Buffer.compare(into.subarray(0, left), bytes.subarray(at, at + left))).toBe(0);
            } else {
              const sink = new MemorySink();
              expect(await reader.copyTo(sink, count)).toBe(left);
              expect(Buffer.compare(sink.bytes(), bytes.subarray(at, at + left))).toBe(0);
            }
            at += left;
            expect(reader.position).toBe(at);
          }
        },
      ),
      { numRuns: rounds(300) },
    );
  });

  it("takes no byte more than asked for from a shared stream", async () => {
    const stream = choppy(counting(10_000), [100_000]);
    const reader = new ByteReader(stream, { exact: true });
    await reader.need(10);
    reader.take(10);
    expect(stream.taken).toBe(10);
    await reader.skip(90);
    expect(stream.taken).toBe(100);
    await reader.copyTo(new MemorySink(), 900);
    expect(stream.taken).toBe(1000);
  });

  it("doesn't allocate by an announced length", async () => {
    const reader = new ByteReader(bytesSource(counting(100)), { window: 4096 });
    expect(await reader.need(2 ** 40)).toBe(false);
    expect(reader.available).toBe(100);
    expect(reader.view.byteLength).toBeLessThanOrEqual(3 * 4096);
  });

  it("reads ahead over records a page apart, more and more", async () => {
    const inner = bytesSource(counting(8 << 20));
    const asked: number[] = [];
    const reader = new ByteReader(
      {
        ...inner,
        read(offset, into) {
          asked.push(into.length);
          return inner.read(offset, into);
        },
      },
      { window: 256 << 10 },
    );
    while (await reader.need(8)) {
      reader.take(8);
      await reader.skip(4096);
    }
    expect(reader.position).toBe(8 << 20);
    // less than a dozen until the window is full, then one a window
    expect(asked.length).toBeLessThan(12 + (8 << 20) / (256 << 10) + 2);
    expect(Math.max(...asked)).toBe(256 << 10);
  });

  it("jumps over what it skips in a source", async () => {
    let read = 0;
    const bytes = counting(1 << 20);
    const inner = bytesSource(bytes);
    const source = {
      name: "counted",
      size: inner.size,
      read: (at: number, into: Uint8Array) => ((read += into.length), inner.read(at, into)),
    };
    const reader = new ByteReader(source);
    for (let i = 0; i < 8; i += 1) {
      await reader.need(16);
      reader.take(16);
      await reader.skip(100_000);
    }
    expect(read).toBeLessThan(100_000);
  });
});

describe("sources", () => {
  it("a slice is bounded on both sides", async () => {
    const slice = sliceSource(bytesSource(counting(100)), 10, 50);
    const into = new Uint8Array(80);
    expect(slice.size).toBe(50);
    expect(await slice.read(40, into)).toBe(10);
    expect(into[0]).toBe(counting(100)[50]);
    expect(sliceSource(bytesSource(counting(10)), 20, 5).size).toBe(0);
    expect(await slice.read(90, into)).toBe(0);
  });

  it("streamOf reads a source in order", async () => {
    const reader = new ByteReader(streamOf(bytesSource(counting(5000)), 100));
    await reader.need(4900);
    expect(reader.take(4900)).toEqual(counting(5000).subarray(100));
    expect(await reader.need(1)).toBe(false);
  });
});

describe("an input that gives a byte at a time", () => {
  it("is not copied whole for each", async () => {
    const size = 3 << 20;
    let at = 0;
    const reader = new ByteReader({
      name: "trickle",
      read(into: Uint8Array) {
        if (at === size || into.length === 0) return 0;
        into[0] = at & 0xff;
        at += 1;
        return 1;
      },
    });
    const begun = performance.now();
    expect(await reader.need(size)).toBe(true);
    // copying for each byte takes minutes
    expect(performance.now() - begun).toBeLessThan(20_000);
    const bytes = reader.take(size);
    expect([bytes[0], bytes[4097], bytes[size - 1]]).toEqual([0, 1, (size - 1) & 0xff]);
  });
});
