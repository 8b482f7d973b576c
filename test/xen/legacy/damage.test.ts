import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { FormatError, GuestscopeError } from "../../../src/findings/errors.js";
import type { ConversionReport } from "../../../src/xen/legacy/conversion-report.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { chunkName } from "../../../src/xen/legacy/layout.js";
import { LegacyReader } from "../../../src/xen/legacy/read.js";
import { openLegacyGuest } from "../../../src/xen/legacy/guest.js";
import { inspectLegacy, verifyLegacy } from "../../../src/xen/legacy/inspect.js";
import { STRIDE, rounds, scratch } from "../../shared.js";
import { codePage, hvmContext, LegacyMaker } from "./make-legacy.js";
import { readConverted } from "./read-converted.js";
import { NAMES, sample } from "./streams.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** Bytes of a stream made by `make`. */
function made(width: 32 | 64, make: (maker: LegacyMaker) => void): Buffer {
  const parts: Uint8Array[] = [];
  make(new LegacyMaker(width, (bytes) => parts.push(bytes.slice())));
  return Buffer.concat(parts);
}

const page = (seed: number): Uint8Array =>
  Uint8Array.from({ length: 4096 }, (_, i) => (seed * 31 + i * 7) & 0xff);

function smallHvm(width: 32 | 64): Buffer {
  return made(width, (maker) =>
    maker
      .hvmHeader(4)
      .tsc(1, 5n, 1000, 0)
      .batch([0, 1], page(0), page(1))
      .vcpuInfo(0, [0])
      .parameter(-3, 0xfeffe000n)
      .toolstack([{ phys: 0x800000n, start: 0xf0000000n, size: 0x1000n, name: "vga" }])
      .lastCheckpoint()
      .endOfBody()
      .hvmTail([1n, 2n, 3n], hvmContext(9))
      .qemu(page(3).subarray(0, 30)),
  );
}

function smallPv(width: 32 | 64): Buffer {
  const vcpu = {
    context: page(4).subarray(0, 2800),
    extended: page(5).subarray(0, 128),
    xsave: page(6).subarray(0, 600),
  };
  return made(width, (maker) =>
    maker
      .pvHeader(4, 4, 600, [0])
      .tsc(1, 5n, 1000, 0)
      .batch([0, 0x90000001], page(0), page(1))
      .vcpuInfo(1, [1])
      .toolstack([])
      .lastCheckpoint()
      .endOfBody()
      .pvTail([3], [vcpu], page(7)),
  );
}

/** A checkpointed stream: pages, then a second checkpoint with a compressed difference, cut where asked. */
function smallRemus(): Buffer {
  const changed = page(1);
  changed[8] = 1;
  return made(64, (maker) => {
    const body = (): LegacyMaker => maker.vcpuInfo(0, [0]).parameter(-3, 0xfeffe000n).toolstack([]);
    maker.hvmHeader(4).batch([0, 1], page(0), page(1)).tsc(1, 5n, 1000, 0);
    body().u32(-13).endOfBody().hvmTail([1n, 2n, 3n], hvmContext(9)).qemu(page(3).subarray(0, 30));
    maker
      .batch([0, 1])
      .compressed(Buffer.concat([codePage(undefined, page(2)), codePage(undefined, changed)]));
    body().endOfBody().hvmTail([1n, 2n, 3n], hvmContext(9)).qemu(page(3).subarray(0, 40));
  });
}

async function outcome(stream: Uint8Array, piped: boolean): Promise<ConversionReport | GuestscopeError> {
  const sink = new MemorySink();
  const source = bytesSource(stream, "small");
  try {
    const report = await convertLegacy(
      piped ? streamOf(source) : source,
      sink,
      piped ? { format: "libxl" } : {},
    );
    readConverted(Buffer.from(sink.bytes()));
    return report;
  } catch (error) {
    if (error instanceof GuestscopeError) return error;
    throw error;
  }
}

describe("a stream that goes on, and can't be read", () => {
  it("says that the rest of it is lost", async () => {
    const stream = smallHvm(64);
    // a chunk of vCPUs that no guest has, and nothing after it that proves itself
    const at = stream.length - 400;
    stream.fill(0, at);
    stream.writeInt32LE(-2, 32);
    stream.writeInt32LE(1 << 20, 36);
    const guest = await openLegacyGuest(bytesSource(stream), { partial: true, findKernel: false });
    expect(guest.rescue?.lost).toMatchObject([{ end: stream.length, proof: 0 }]);
    expect(guest.rescue?.lost[0]?.start).toBeLessThanOrEqual(36);
    expect(guest.warnings.join("\n")).toMatch(/incomplete: .*highest vCPU id/);
    await guest.close?.();
    // one that just ends has nothing that is lost in it
    const cut = smallHvm(64).subarray(0, -300);
    const ended = await openLegacyGuest(bytesSource(cut), { partial: true, findKernel: false });
    expect(ended.rescue).toBeUndefined();
    await ended.close?.();
  });
});

describe("a stream that ends early", () => {
  it.each([
    ["HVM, 64-bit", smallHvm(64)],
    ["HVM, 32-bit", smallHvm(32)],
    ["PV, 64-bit", smallPv(64)],
    ["PV, 32-bit", smallPv(32)],
  ])("is refused wherever it ends: %s", async (_, stream) => {
    const data = await dataRanges(stream);
    for (let length = 0; length < stream.length; length += STRIDE) {
      // one place inside a page's contents is like another
      if (length % 64 !== 0 && data.some(([from, to]) => length > from + 8 && length < to - 8)) continue;
      expect(await outcome(stream.subarray(0, length), length % 2 === 0)).toBeInstanceOf(FormatError);
    }
    expect(await outcome(stream, false)).toMatchObject({ findings: [] });
    expect(await outcome(stream, true)).toMatchObject({ findings: [] });
  });

  it("goes back to the last complete checkpoint", async () => {
    const stream = smallRemus();
    const ends: number[] = [];
    for await (const chunk of new LegacyReader(bytesSource(stream)).chunks()) {
      if (chunk.kind === "checkpoint") ends.push(chunk.offset);
    }
    const [first = 0, second = 0] = ends;
    expect(second).toBe(stream.length);
    for (let length = 0; length <= stream.length; length += 1) {
      if (length % STRIDE !== 0 && length !== first && length !== second) continue;
      if (length % 16 !== 0 && Math.abs(length - first) > 200 && second - length > 200) continue;
      const result = await outcome(stream.subarray(0, length), length % 2 === 0);
      if (length < first) expect(result).toBeInstanceOf(FormatError);
      else if (length === second)
        expect(result).toMatchObject({ checkpoints: { complete: 2 }, findings: [] });
      else expect(result).toMatchObject({ checkpoints: { complete: 1 } });
      if (length > first && length < second)
        expect(result).toHaveProperty("findings.0.code", "legacy/checkpoint/incomplete");
    }
  });

  it.each(NAMES)("is refused or taken back at every chunk of %s", async (name) => {
    const { stream, meta } = sample(name, folder);
    const places: number[] = [];
    const checkpoints: number[] = [];
    try {
      for await (const chunk of new LegacyReader(bytesSource(stream)).chunks()) {
        if (chunk.kind === "checkpoint") checkpoints.push(chunk.offset);
        else places.push(chunk.offset);
      }
    } catch {
      // a stream that breaks off or has bytes after its end: what was seen is enough
    }
    const nowhere = { name: "nowhere", write: () => {} };
    for (const length of places) {
      const whole = checkpoints.filter((end) => end <= length).length;
      const converted = convertLegacy(bytesSource(stream.subarray(0, length)), nowhere, { allowLoss: true });
      if (whole === 0 && !isBare(meta.envelope, stream, length))
        await expect(converted).rejects.toThrow(FormatError);
      else expect((await converted).checkpoints.complete).toBe(Math.max(1, whole));
    }
  });
});

/** Without toolstack chunk a stream that ends before the QEMU record looks like a bare one. */
function isBare(envelope: string, stream: Buffer, length: number): boolean {
  return envelope === "libxl" && stream.subarray(length, length + 21).toString() === "QemuDeviceModelRecord";
}

/** Where contents of pages stand. */
async function dataRanges(stream: Buffer): Promise<[number, number][]> {
  const ranges: [number, number][] = [];
  for await (const chunk of new LegacyReader(bytesSource(stream)).chunks()) {
    if (chunk.kind === "pages") ranges.push([chunk.dataOffset, chunk.dataOffset + (chunk.dataLength ?? 0)]);
    else if (chunk.kind === "shared-info") ranges.push([chunk.offset, chunk.offset + 4096]);
  }
  return ranges;
}

/** Where chunk ids stand in a stream. */
async function markers(stream: Buffer): Promise<number[]> {
  const places: number[] = [];
  for await (const { kind, offset } of new LegacyReader(bytesSource(stream)).chunks()) {
    if (
      ![
        "xl-header",
        "header",
        "pv-info",
        "hvm-tail",
        "qemu",
        "unmapped",
        "vcpu",
        "shared-info",
        "checkpoint",
      ].includes(kind)
    )
      places.push(offset);
  }
  return places;
}

describe("damage inside a stream", () => {
  const all = [...Array.from({ length: 24 }, (_, i) => -i), 1, 2, 3, 1024, 1025, 0x7fffffff, -0x80000000];
  const ids = all.filter((_, i) => i % STRIDE === 0);

  it.each([
    ["HVM", smallHvm(64)],
    ["HVM of 32 bits", smallHvm(32)],
    ["PV", smallPv(64)],
    ["Remus", smallRemus()],
  ])("any chunk id in the place of any other: %s", async (_, stream) => {
    for (const at of await markers(stream)) {
      for (const id of ids) {
        const changed = Buffer.from(stream);
        changed.writeInt32LE(id, at);
        const result = await outcome(changed, false);
        const unknown = chunkName(id) === undefined || id > 1024;
        if (unknown && at < 4096) expect(result).toBeInstanceOf(FormatError);
        await outcome(changed, true);
        await verifyLegacy(bytesSource(changed), new Report("changed"));
      }
    }
  });

  it("changing random bytes anywhere gives an error or a readable output", async () => {
    const streams = [smallHvm(64), smallHvm(32), smallPv(64), smallPv(32), smallRemus()];
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: streams.length - 1 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        async (which, changes, piped) => {
          const stream = Buffer.from(streams[which] ?? []);
          for (const [at, value] of changes) stream[interesting(stream, at)] = value;
          await outcome(stream, piped);
          const report = new Report("changed");
          await verifyLegacy(bytesSource(stream), report);
          await inspectLegacy(bytesSource(stream)).catch((error: unknown) =>
            expect(error).toBeInstanceOf(GuestscopeError),
          );
        },
      ),
      { numRuns: rounds(800) },
    );
  });

  it("impossible counts and sizes are refused by rule", async () => {
    const refuse = async (make: (maker: LegacyMaker) => void, code: string): Promise<void> => {
      const result = await outcome(made(64, make), false);
      expect(result).toBeInstanceOf(FormatError);
      expect((result as FormatError).code).toBe(code);
      expect((result as FormatError).place.offset).toBeTypeOf("number");
    };
    const start = (maker: LegacyMaker, p2mSize = 4): LegacyMaker =>
      maker.hvmHeader(p2mSize).tsc(1, 5n, 1000, 0);
    await refuse((m) => m.hvmHeader(0).tsc(1, 5n, 1, 0), "legacy/p2m-size");
    await refuse((m) => m.hvmHeader(0x10000000).tsc(1, 5n, 1, 0), "legacy/p2m-size");
    await refuse((m) => start(m).u32(1025), "legacy/pages/batch-size");
    await refuse((m) => start(m).u32(0x7fffffff), "legacy/pages/batch-size");
    await refuse((m) => start(m).batch([1, 0, 1], page(1), page(0), page(1)), "legacy/pages/duplicate-pfn");
    await refuse((m) => start(m).batch([0x50000000]), "legacy/pages/reserved-type");
    await refuse((m) => start(m).batch([0x10000000], page(0)), "legacy/pages/page-table-in-hvm");
    await refuse((m) => start(m).batch([4]), "legacy/pages/pfn-range");
    await refuse((m) => start(m).u32(1).u64(0x1_0000_0000n), "legacy/pages/pfn-range");
    await refuse((m) => start(m).u32(-2, 4096), "legacy/vcpu-info/range");
    await refuse((m) => start(m).u32(-2, 4095).u64(1n), "legacy/truncated");
    await refuse((m) => start(m).compressed(Uint8Array.of(0)), "legacy/compressed/not-enabled");
    await refuse((m) => start(m).u32(-22), "legacy/unknown-chunk");
    await refuse((m) => start(m).u32(-18, -1), "legacy/toolstack/structure");
    await refuse((m) => m.pvHeader(0x0fffffff, 8, 832, [0]), "legacy/truncated");
    await refuse((m) => m.pvHeader(4, 8, 70000, [0]), "legacy/extended-info");
    await refuse(
      (m) => m.ulongs([4]).raw(new Uint8Array(8).fill(255)).u32(24).raw(Buffer.from("vcpu")).u32(5168),
      "legacy/extended-info",
    );
    await refuse(
      (m) => m.ulongs([4]).raw(new Uint8Array(8).fill(255)).u32(8).raw(Buffer.from("extv")).u32(0),
      "legacy/extended-info",
    );
    await refuse((m) => m.raw(Buffer.from("LibxlFmt")).raw(new Uint8Array(100)), "legacy/not-legacy");
    await refuse((m) => m.raw(new Uint8Array(200).fill(255)), "legacy/not-legacy");
  });

  it("bytes left after an unknown block of extended info are an error: they may be the vCPUs' state", async () => {
    const plain = smallPv(64);
    const total = plain.readUInt32LE(16);
    const block = Buffer.from("newsabcdefgh");
    block.writeUInt32LE(4, 4);
    const grown = Buffer.from(plain.subarray(0, 20));
    grown.writeUInt32LE(total + block.length, 16);
    const announced = Buffer.concat([grown, block, plain.subarray(20)]);
    const codes = async (input: Uint8Array): Promise<string[]> => {
      const [file, pipe] = [new Report("file"), new Report("pipe")];
      await verifyLegacy(bytesSource(input), file);
      await verifyLegacy(streamOf(bytesSource(input)), pipe);
      const said = ({ findings }: Report): string[] =>
        findings.map(({ severity, code }) => `${severity} ${code}`);
      expect(said(pipe)).toEqual(said(file));
      return said(file);
    };
    const warned = "warning legacy/extended-info/unknown-block";
    const before = await codes(plain);
    expect(await codes(announced)).toEqual([warned, ...before]);
    expect(await outcome(announced, false)).not.toBeInstanceOf(Error);
    // a receiver that knows the block reads 24 bytes of state for the vCPU, before the shared info
    const sharedInfo = announced.length - 4096;
    const state = Buffer.alloc(24, 0x5a);
    const input = Buffer.concat([announced.subarray(0, sharedInfo), state, announced.subarray(sharedInfo)]);
    expect(await codes(input)).toEqual([warned, ...before, "error legacy/extended-info/unread-state"]);
    expect(await outcome(input, false)).toMatchObject({ code: "legacy/extended-info/unread-state" });
    await expect(openLegacyGuest(bytesSource(input), {})).rejects.toMatchObject({
      code: "legacy/extended-info/unread-state",
    });
  });

  it("malformed coded pages are refused by rule", async () => {
    const remus = (coded: Uint8Array): Buffer =>
      made(64, (maker) => {
        maker.hvmHeader(4).batch([0], page(0)).vcpuInfo(0, [0]).u32(-13).endOfBody();
        maker.hvmTail([1n, 2n, 3n], hvmContext(1)).batch([0]).compressed(coded);
      });
    const cases: readonly [string, Uint8Array, string][] = [
      ["a run past the page", Uint8Array.from({ length: 9 }, () => 0xff), "runs past its end"],
      ["a run past the chunk", Uint8Array.of(0x02, 1, 2, 3), "cut off"],
      ["a whole page past the chunk", Uint8Array.of(0x80, 1, 2, 3), "cut off"],
      ["an empty run", Uint8Array.of(0x81, 0x80), "run of no words"],
      ["a page too many", Uint8Array.of(0, 0), "more compressed pages"],
    ];
    for (const [, coded, message] of cases) {
      const result = await outcome(remus(coded), false);
      expect(result).toMatchObject({ checkpoints: { complete: 1 } });
      expect((result as ConversionReport).findings[0]?.message).toContain(message);
    }
  });
});

/** An index that prefers structure to contents of pages. */
function interesting(stream: Uint8Array, at: number): number {
  const index = at % stream.length;
  return at % 5 === 0 ? index : index % 300 < 150 ? index % 300 : stream.length - 1 - (index % 300);
}
