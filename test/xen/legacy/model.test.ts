import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { type ByteSource, type ByteStream, bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { applyCoded, codedLength } from "../../../src/xen/legacy/compression.js";
import { codePage, hvmContext, LegacyMaker } from "./make-legacy.js";
import { crc32, type Pages, readConverted } from "./read-converted.js";
import { rounds } from "../../shared.js";

/** One batch of an invented guest: which pfns, of which type, with which contents. */
const write = fc.record({
  pfn: fc.integer({ min: 0, max: 39 }),
  type: fc.constantFrom(0, 0, 0, 0, 1, 2, 0xc, 0xd, 0xe, 0xf),
  seed: fc.integer({ min: 0, max: 7 }),
  changedWords: fc.array(fc.integer({ min: 0, max: 1023 }), { maxLength: 5 }),
});
const guest = fc.record({
  width: fc.constantFrom<(32 | 64)[]>(32, 64),
  pv: fc.boolean(),
  guestWidth: fc.constantFrom<(4 | 8)[]>(4, 8),
  compressed: fc.boolean(),
  checkpoints: fc.array(fc.array(fc.array(write, { minLength: 1, maxLength: 12 }), { maxLength: 4 }), {
    minLength: 1,
    maxLength: 4,
  }),
  unmapped: fc.uniqueArray(fc.integer({ min: 1, max: 39 }), { maxLength: 4 }),
  vcpus: fc.uniqueArray(fc.integer({ min: 0, max: 130 }), { minLength: 1, maxLength: 4 }),
  tearAt: fc.option(fc.integer({ min: 0, max: 5000 }), { nil: undefined }),
});

const P2M_SIZE = 40;
const hasContents = (type: number): boolean => type < 5 || (type > 8 && type < 13);

function contents(seed: number, changedWords: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4096).fill(seed);
  const view = new DataView(bytes.buffer);
  for (const word of changedWords) view.setUint32(word * 4, 0xdeadbeef + word + seed);
  return bytes;
}

/** Writes the stream of an invented guest and keeps what a receiver must have after each checkpoint. */
function play(spec: typeof guest extends fc.Arbitrary<infer T> ? T : never): {
  stream: Buffer;
  states: Pages[];
  ends: number[];
} {
  const parts: Uint8Array[] = [];
  let written = 0;
  const maker = new LegacyMaker(spec.width, (bytes) => {
    parts.push(bytes.slice());
    written += bytes.length;
  });
  const vcpus = [...spec.vcpus].sort((a, b) => a - b);
  if (spec.pv) maker.pvHeader(P2M_SIZE, spec.guestWidth, 64, [0]);
  else maker.hvmHeader(P2M_SIZE);
  const memory = new Map<number, Uint8Array>();
  const types = new Map<number, number>();
  const sent = new Set<number>();
  const states: Pages[] = [];
  const ends: number[] = [];
  for (const [number, batches] of spec.checkpoints.entries()) {
    const compressed = spec.compressed && number > 0;
    // a p2m frame must be a normal page in the end
    const whole = number === 0 ? [[{ pfn: 0, type: 0, seed: 1, changedWords: [] }], ...batches] : batches;
    for (const batch of whole) {
      const once = batch.filter(({ pfn }, i) => batch.findIndex((other) => other.pfn === pfn) === i);
      const usable = once.map((one) => {
        if (one.pfn === 0) return { ...one, type: 0 };
        return !spec.pv && hasContents(one.type) ? { ...one, type: 0 } : one;
      });
      const entries = usable.map(({ pfn, type }) => (type === 0xf ? 0xf0000000 : (type << 28) | pfn));
      const coded: Uint8Array[] = [];
      for (const { pfn, type, seed, changedWords } of usable) {
        if (type === 0xf) continue;
        if (hasContents(type)) {
          const now = contents(seed, changedWords);
          coded.push(
            compressed ? codePage(type === 0 && sent.has(pfn) ? memory.get(pfn) : undefined, now) : now,
          );
          if (compressed && type === 0) sent.add(pfn);
          else sent.delete(pfn);
          memory.set(pfn, now);
          types.set(pfn, type);
        } else if (type === 0xd || !hasContents(types.get(pfn) ?? 0xf)) {
          types.set(pfn, type);
        }
      }
      maker.batch(entries, ...(compressed ? [] : coded));
      if (compressed && coded.length > 0) maker.compressed(Buffer.concat(coded));
    }
    if (number === 0) maker.tsc(1, 7n, 1000, 0);
    maker.vcpuInfo(130, vcpus);
    if (number === 0 && spec.compressed) maker.u32(-13);
    maker.endOfBody();
    const unmapped = spec.pv && number === spec.checkpoints.length - 1 ? spec.unmapped : [];
    if (spec.pv) {
      const context = new Uint8Array(spec.guestWidth === 8 ? 5168 : 2800).fill(number);
      const vcpu = { context, extended: new Uint8Array(128), xsave: new Uint8Array(64) };
      maker.pvTail(
        unmapped,
        vcpus.map(() => vcpu),
        new Uint8Array(4096).fill(number),
      );
    } else {
      maker.hvmTail([5n, 6n, 7n], hvmContext(number)).qemu(new Uint8Array(20));
    }
    const state: Pages = new Map();
    for (const [pfn, type] of types) {
      if (unmapped.includes(pfn)) continue;
      state.set(
        pfn,
        `${type.toString(16)} ${hasContents(type) ? crc32(memory.get(pfn) ?? new Uint8Array(0)) : "-"}`,
      );
    }
    states.push(state);
    ends.push(written);
  }
  return { stream: Buffer.concat(parts), states, ends };
}

describe("invented guests", () => {
  it("convert to what a receiver would have, wherever the stream breaks off", async () => {
    await fc.assert(
      fc.asyncProperty(guest, async (spec) => {
        const { stream, states, ends } = play(spec);
        const length =
          spec.tearAt === undefined ? stream.length : Math.max(ends[0] ?? 0, stream.length - spec.tearAt);
        const complete = ends.filter((end) => end <= length).length;
        const outputs: Buffer[] = [];
        for (const piped of [false, true]) {
          const source = bytesSource(stream.subarray(0, length), "invented");
          const sink = new MemorySink();
          const report = await convertLegacy(piped ? streamOf(source) : source, sink);
          expect(report.checkpoints.complete).toBe(complete);
          expect(report.findings.filter(({ code }) => code !== "legacy/checkpoint/incomplete")).toEqual([]);
          expect(report.vcpus).toEqual([...spec.vcpus].sort((a, b) => a - b));
          outputs.push(Buffer.from(sink.bytes()));
        }
        const [first = Buffer.alloc(0), second] = outputs;
        expect(second?.equals(first)).toBe(true);
        expect(readConverted(first).pages).toEqual(states[complete - 1]);
      }),
      { numRuns: rounds(250) },
    );
  });
});

describe("coded pages", () => {
  const pageOf = fc.array(fc.tuple(fc.integer({ min: 0, max: 1023 }), fc.nat(0xff)), { maxLength: 300 });

  it("come back as they were", () => {
    fc.assert(
      fc.property(pageOf, pageOf, fc.boolean(), fc.nat(20), (before, after, whole, at) => {
        const make = (words: readonly (readonly [number, number])[]): Uint8Array => {
          const bytes = new Uint8Array(4096);
          for (const [word, value] of words) bytes.fill(value, word * 4, word * 4 + 4);
          return bytes;
        };
        const [old, now] = [make(before), make(after)];
        const coded = codePage(whole ? undefined : old, now);
        const input = Buffer.concat([new Uint8Array(at), coded, new Uint8Array(9)]);
        expect(codedLength(input, at, input.length)).toBe(coded.length);
        expect(codedLength(input, at, at + coded.length - 1)).toBeLessThan(0);
        const page = old.slice();
        applyCoded(input, at, page, 0);
        expect(Buffer.from(page).equals(now)).toBe(true);
      }),
    );
  });
});

describe("tmem of a live save", () => {
  const parts: Uint8Array[] = [];
  const maker = new LegacyMaker(64, (bytes) => parts.push(bytes.slice()));
  const page = new Uint8Array(4096).fill(1);
  const object = (): LegacyMaker => maker.u64(1n, 2n, 3n).u32(7);
  maker.hvmHeader(8).u32(-5, 1, 16, -1, 1, 0, 0, -1);
  // a pool whose pages all came, one whose list ends early, one that isn't persistent
  maker.u32(0, 1, 2).u64(5n, 6n);
  object().raw(page);
  object().raw(page);
  maker.u32(1, 1, 9).u64(5n, 6n);
  object().raw(page);
  maker.u64(-1n, -1n, -1n).u32(3, 0, 0).u64(0n, 0n).u32(-1);
  maker.batch([0, 1], page, page).u32(-6, 0);
  object()
    .u32(-1)
    .tsc(1, 5n, 1, 0)
    .batch([1], page)
    .vcpuInfo(0, [0])
    .toolstack([])
    .lastCheckpoint()
    .endOfBody();
  maker.hvmTail([1n, 2n, 3n], hvmContext(4)).qemu(page.subarray(0, 9), "RemusDeviceModelState");
  const stream = Buffer.concat(parts);

  it.each([false, true])(
    "is read past; its pages are lost only where that is allowed (piped: %s)",
    async (piped) => {
      const input = (): ByteSource | ByteStream => {
        const source = bytesSource(stream, "tmem");
        return piped ? streamOf(source) : source;
      };
      await expect(convertLegacy(input(), new MemorySink())).rejects.toThrow(/3 pages \(12288 bytes\)/);
      const sink = new MemorySink();
      const report = await convertLegacy(input(), sink, { allowLoss: true });
      expect(report.emulator).toEqual({ signature: "RemusDeviceModelState", length: 9 });
      expect(report.findings.map(({ code }) => code)).toEqual(["legacy/tmem/announced"]);
      expect([...readConverted(Buffer.from(sink.bytes())).pages.keys()]).toEqual([0, 1]);
    },
  );
});
