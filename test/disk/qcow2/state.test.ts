import { init } from "@bokuweb/zstd-wasm";
import * as fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { checkState } from "../../../src/disk/qcow2/check.js";
import { readImage } from "../../../src/disk/qcow2/read.js";
import { chooseSnapshot } from "../../../src/disk/qcow2/snapshots.js";
import { stateSource, type VirtualSource } from "../../../src/disk/qcow2/state.js";
import { Report } from "../../../src/findings/report.js";
import { type ByteSource, bytesSource, readFully } from "../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { inspect, verify } from "../../../src/open/open.js";
import { type ClusterForm, makeImage, type MadeImage, sampleBytes } from "./qcow2-maker.js";
import { rounds } from "../../shared.js";

beforeAll(async () => init());

async function openState(bytes: Uint8Array, wanted?: string, source?: ByteSource): Promise<VirtualSource> {
  const image = await readImage(source ?? bytesSource(bytes, "disk.qcow2"), new Report("disk"));
  return stateSource(image.source, image.header, chooseSnapshot(image.snapshots, wanted, "disk.qcow2"));
}

async function contents(state: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(state.size);
  expect(await readFully(state, 0, bytes)).toBe(state.size);
  return bytes;
}

/** Codes of what a check of the first snapshot finds, and the bytes before the first damage. */
async function check(bytes: Uint8Array): Promise<{ codes: string[]; intact: number }> {
  const report = new Report("disk.qcow2");
  const { source, header, snapshots } = await readImage(bytesSource(bytes, "disk.qcow2"), report);
  const [snapshot] = snapshots;
  const intact = snapshot === undefined ? 0 : await checkState(source, header, snapshot, report);
  return { codes: report.findings.map(({ code }) => code), intact };
}

const imageOf = fc.record({
  clusterBits: fc.constantFrom(9, 10, 12, 14, 16),
  size: fc.integer({ min: 1, max: 300_000 }),
  forms: fc.array(fc.constantFrom<ClusterForm>("plain", "plain", "zero", "hole", "compressed"), {
    maxLength: 40,
  }),
  version: fc.constantFrom<2 | 3>(2, 3),
  compression: fc.constantFrom<"deflate" | "zstd">("deflate", "zstd"),
  extended: fc.boolean(),
  shuffled: fc.boolean(),
  diskSize: fc.integer({ min: 0, max: 2 ** 22 }),
});

type Shape = typeof imageOf extends fc.Arbitrary<infer T> ? T : never;

/** The image, and the state it should give: zeros where the form says so. */
function build(shape: Shape): { image: MadeImage; state: Uint8Array } {
  const { clusterBits, size, version, diskSize, shuffled } = shape;
  const clusterSize = 2 ** clusterBits;
  const isV3 = version === 3;
  const forms = shape.forms.map((form) => (form === "zero" && !isV3 ? "hole" : form));
  const state = sampleBytes(size);
  for (const [i, form] of forms.entries())
    if (form === "zero" || form === "hole") state.fill(0, i * clusterSize, (i + 1) * clusterSize);
  const image: MadeImage = {
    version,
    clusterBits,
    extendedL2: isV3 && shape.extended && clusterBits >= 14,
    compression: isV3 ? shape.compression : "deflate",
    diskSize,
    shuffled,
    snapshots: [{ id: "1", name: "snap", state, forms }],
  };
  return { image, state };
}

describe("a VM state in a qcow2 image", () => {
  it("is read whatever the image's form and the reads' places", async () => {
    await fc.assert(
      fc.asyncProperty(
        imageOf,
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 200_000 })), { maxLength: 5 }),
        fc.boolean(),
        async (shape, reads, late) => {
          const { image, state } = build(shape);
          const bytes = makeImage(image);
          const memory = bytesSource(bytes, "disk.qcow2");
          // a source that answers later, and a file's way of giving less than was asked for
          const slow: ByteSource = {
            ...memory,
            read: async (offset, into) =>
              memory.read(offset, into.subarray(0, Math.max(1, into.length >> 1))),
          };
          const source = await openState(bytes, undefined, late ? slow : memory);
          expect(Buffer.compare(await contents(source), state)).toBe(0);
          for (const [from, length] of reads) {
            const offset = from % state.length;
            const into = new Uint8Array(length);
            const n = await readFully(source, offset, into);
            expect(n).toBe(Math.min(length, state.length - offset));
            expect(Buffer.compare(into.subarray(0, n), state.subarray(offset, offset + n))).toBe(0);
          }
          const { codes, intact } = await check(bytes);
          expect(intact).toBe(state.length);
          expect(codes.filter((code) => code !== "disk/qcow2/unallocated-state")).toEqual([]);
        },
      ),
      { numRuns: rounds(150) },
    );
  });

  it("of a snapshot without extra data has the sizes of the entry and the header", async () => {
    for (const extra of [0, 8, 16, 24]) {
      const state = sampleBytes(10_000);
      const bytes = makeImage({ snapshots: [{ id: "1", name: "old", state, extra }] });
      expect(Buffer.compare(await contents(await openState(bytes)), state)).toBe(0);
    }
  });

  it("is chosen by id before name", async () => {
    const one = sampleBytes(5000, 1);
    const two = sampleBytes(6000, 2);
    const bytes = makeImage({
      snapshots: [
        { id: "1", name: "2", state: one },
        { id: "2", name: "b", state: two },
        { id: "3", name: "disk", state: new Uint8Array(0) },
      ],
    });
    expect((await openState(bytes, "2")).size).toBe(6000);
    expect((await openState(bytes, "1")).size).toBe(5000);
    expect((await openState(bytes, "b")).size).toBe(6000);
    await expect(openState(bytes)).rejects.toThrow(/which snapshot.*'2' \(id 1\), 'b' \(id 2\)$/);
    await expect(openState(bytes, "disk")).rejects.toThrow(/disk alone/);
    await expect(openState(bytes, "c")).rejects.toThrow(/no snapshot 'c'/);
  });

  it("reads in runs: one read where clusters follow one another", async () => {
    const state = sampleBytes(1 << 20);
    const bytes = makeImage({ clusterBits: 12, snapshots: [{ id: "1", name: "s", state }] });
    const memory = bytesSource(bytes, "disk.qcow2");
    let reads = 0;
    const counting: ByteSource = {
      ...memory,
      read: (offset, into) => {
        reads += 1;
        return memory.read(offset, into);
      },
    };
    const source = await openState(bytes, undefined, counting);
    reads = 0;
    await contents(source);
    // the L1 table, the L2 table, the data
    expect(reads).toBe(3);
  });
});

describe("a damaged qcow2 image", () => {
  const state = sampleBytes(60_000);
  const whole = makeImage({ clusterBits: 12, snapshots: [{ id: "1", name: "s", state }] });
  /** Offset of the only L2 table's first entry: the first cluster of data is cluster 1. */
  const firstEntry = (() => {
    const view = new DataView(whole.buffer);
    for (let at = 4096; at < whole.length; at += 8)
      if (view.getBigUint64(at) === (1n << 63n) + 4096n) return at;
    return 0;
  })();
  const changed = (at: number, value: bigint): Uint8Array => {
    const bytes = whole.slice();
    new DataView(bytes.buffer).setBigUint64(at, value);
    return bytes;
  };

  it("with an entry beyond the file is a finding with the entry's place", async () => {
    const bytes = changed(firstEntry + 16, BigInt(2 ** 40));
    expect(await check(bytes)).toEqual({ codes: ["disk/qcow2/beyond-file"], intact: 8192 });
    await expect(contents(await openState(bytes))).rejects.toMatchObject({
      code: "disk/qcow2/beyond-file",
      place: { source: "disk.qcow2", offset: firstEntry + 16 },
    });
  });

  it("with an entry that is no cluster's is a finding", async () => {
    const bytes = changed(firstEntry + 8, 0x1200n);
    expect(await check(bytes)).toEqual({ codes: ["disk/qcow2/cluster"], intact: 4096 });
    await expect(contents(await openState(bytes))).rejects.toMatchObject({ code: "disk/qcow2/cluster" });
  });

  it("with an L2 table that maps itself or one cluster twice is a finding", async () => {
    expect((await check(changed(firstEntry, BigInt(firstEntry)))).codes).toEqual(["disk/qcow2/overlap"]);
    expect(await check(changed(firstEntry + 24, 4096n))).toEqual({
      codes: ["disk/qcow2/overlap"],
      intact: 12_288,
    });
  });

  it("with an unallocated cluster is a warning, and zeros", async () => {
    const bytes = changed(firstEntry, 0n);
    expect(await check(bytes)).toEqual({ codes: ["disk/qcow2/unallocated-state"], intact: 60_000 });
    expect((await contents(await openState(bytes))).subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
  });

  it("with a state larger than its tables is a finding, not zeros", async () => {
    const table = Buffer.from(whole).indexOf("1s") - 64;
    const bytes = changed(table + 40, BigInt(2 ** 44));
    expect((await check(bytes)).codes).toContain("disk/qcow2/state-size");
    const source = await openState(bytes);
    expect(() => source.read(2 ** 40, new Uint8Array(10))).toThrow(/none for/);
  });

  it("with compressed clusters that don't unpack is a finding", async () => {
    for (const compression of ["deflate", "zstd"] as const) {
      const bytes = makeImage({
        compression,
        snapshots: [
          { id: "1", name: "s", state, forms: Array.from({ length: 15 }, () => "compressed" as const) },
        ],
      });
      bytes.fill(0xff, 4096 + 100, 4096 + 140);
      const { codes, intact } = await check(bytes);
      expect(codes).toEqual(["disk/qcow2/compressed"]);
      expect(intact).toBe(0);
      await expect(contents(await openState(bytes))).rejects.toMatchObject({ code: "disk/qcow2/compressed" });
    }
  });

  it("with encryption, a data file or unknown features is named", async () => {
    const set = (at: number, ...values: number[]): Uint8Array => {
      const bytes = whole.slice();
      bytes.set(values, at);
      return bytes;
    };
    await expect(openState(set(35, 1))).rejects.toThrow(/encrypted \(AES\)/);
    await expect(openState(set(35, 2))).rejects.toThrow(/encrypted \(LUKS\)/);
    await expect(openState(set(79, 4))).rejects.toMatchObject({ code: "disk/qcow2/external-data-file" });
    await expect(openState(set(78, 1))).rejects.toMatchObject({ code: "disk/qcow2/feature" });
    await expect(openState(set(23, 30))).rejects.toMatchObject({ code: "disk/qcow2/header" });
    await expect(openState(set(7, 4))).rejects.toMatchObject({ code: "disk/qcow2/version" });
    for (const [code, bytes] of [
      ["disk/qcow2/encrypted", set(35, 2)],
      ["disk/qcow2/external-data-file", set(79, 4)],
      ["disk/qcow2/unclean", set(79, 1)],
      ["disk/qcow2/unclean", set(79, 2)],
    ] as const)
      expect((await verify(bytesSource(bytes))).report.findings.map((f) => f.code)).toContain(code);
  });

  it("with a backing file is read without it", async () => {
    const bytes = whole.slice();
    const name = new TextEncoder().encode("/etc/hostname");
    bytes.set(name, 600);
    new DataView(bytes.buffer).setBigUint64(8, 600n);
    new DataView(bytes.buffer).setUint32(16, name.length);
    expect(
      Buffer.compare(await contents(await openState(bytes)), await contents(await openState(whole))),
    ).toBe(0);
    const opened: string[] = [];
    const openFile = async (path: string): Promise<ByteSource> => {
      opened.push(path);
      return bytesSource(new Uint8Array(0), path);
    };
    await inspect(bytesSource(bytes, "disk.qcow2"), { openFile });
    expect(opened).toEqual([]);
  });

  it("never throws anything but errors of the project, and ends", async () => {
    const shapes = imageOf.map((shape) => build(shape).image);
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 30 }),
        fc.option(fc.nat(), { nil: undefined }),
        async (image, changes, cut) => {
          const made = makeImage(image);
          for (const [at, value] of changes) {
            // half of the changes in the header and the tables
            const place = at % 2 === 0 ? (at >> 1) % 112 : (at >> 1) % made.length;
            made[place] = value;
          }
          const bytes = cut === undefined ? made : made.subarray(0, cut % made.length);
          const source = bytesSource(bytes, "disk.qcow2");
          const { report } = await verify(source);
          expect(report.findings.length).toBeLessThan(5000);
          try {
            const state = await openState(bytes);
            await readFully(state, 0, new Uint8Array(Math.min(state.size, 1 << 20)));
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
        },
      ),
      { numRuns: rounds(300) },
    );
  });
});
