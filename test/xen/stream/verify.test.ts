import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { viewOf } from "../../../src/binary/layout.js";
import { type Finding, Report } from "../../../src/findings/index.js";
import { bytesSource, type ByteStream, streamOf } from "../../../src/io/byte-source.js";
import { FormatError } from "../../../src/findings/errors.js";
import { LIBXC_RECORD as R } from "../../../src/xen/libxc/layout.js";
import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { XenStream } from "../../../src/xen/stream/read.js";
import { inspectXenStream } from "../../../src/xen/stream/inspect.js";
import { verifyXenStream } from "../../../src/xen/stream/verify.js";
import {
  joined,
  libxcRecords,
  type MadeRecord,
  makeStream,
  pageData,
  type Shape,
  wrap,
} from "./stream-maker.js";
import { rounds, STRIDE } from "../../shared.js";

async function findings(bytes: Uint8Array, input?: ByteStream): Promise<readonly Finding[]> {
  const report = new Report("made");
  await verifyXenStream(input ?? bytesSource(bytes), report);
  return report.findings;
}

const codes = (all: readonly Finding[]): string[] => [...new Set(all.map(({ code }) => code))];
const worse = (all: readonly Finding[]): Finding[] => all.filter(({ severity }) => severity !== "note");

const shapes: fc.Arbitrary<Shape> = fc.record({
  guest: fc.constantFrom("pv" as const, "hvm" as const),
  version: fc.constantFrom(2 as const, 3 as const),
  order: fc.constantFrom("little" as const, "big" as const),
  layer: fc.constantFrom("xl" as const, "libxl" as const, "libxc" as const),
  width: fc.constantFrom(4 as const, 8 as const),
  vcpus: fc.integer({ min: 1, max: 3 }),
  pages: fc.integer({ min: 2, max: 6 }),
  checkpoints: fc.integer({ min: 0, max: 2 }),
});

/** One byte at each read: what a slow pipe may do. */
function dripping(bytes: Uint8Array): ByteStream {
  const stream = streamOf(bytesSource(bytes));
  return { name: "drip", read: (into) => stream.read(into.subarray(0, 1)) };
}

const HVM: Shape = { guest: "hvm", version: 3, order: "little", layer: "libxc" };
const PV: Shape = { guest: "pv", version: 3, order: "little", layer: "libxc" };

/** A stream whose records were changed. */
function altered(shape: Shape, change: (records: MadeRecord[]) => readonly MadeRecord[]): Uint8Array {
  return wrap(shape, change(libxcRecords(shape)));
}

/** Changes the body of the first record of a type. */
function body(
  type: number,
  change: (bytes: Uint8Array) => Uint8Array,
): (records: MadeRecord[]) => MadeRecord[] {
  return (records) => {
    const i = records.findIndex((record) => record.type === type);
    return records.map((record, j) => (i === j ? { type, body: change(record.body.slice()) } : record));
  };
}

const without =
  (type: number) =>
  (records: MadeRecord[]): MadeRecord[] =>
    records.filter((record) => record.type !== type);
const before =
  (type: number, extra: MadeRecord) =>
  (records: MadeRecord[]): MadeRecord[] => {
    const i = records.findIndex((record) => record.type === type);
    return [...records.slice(0, i), extra, ...records.slice(i)];
  };
const set =
  (at: number, ...values: number[]) =>
  (bytes: Uint8Array): Uint8Array => {
    bytes.set(values, at);
    return bytes;
  };
const shorter = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length - 1);
const empty = new Uint8Array(0);
const entries =
  (...list: [number, number][]): ((bytes: Uint8Array) => Uint8Array) =>
  () =>
    pageData(list, "little");

describe("valid streams", () => {
  it("are valid in every shape, read at any offset or in order", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const bytes = makeStream(shape);
        expect(worse(await findings(bytes))).toEqual([]);
        expect(worse(await findings(bytes, streamOf(bytesSource(bytes))))).toEqual([]);
      }),
      { numRuns: rounds(60) },
    );
  });

  it("come a byte at a time", async () => {
    const bytes = makeStream({ ...PV, layer: "xl", checkpoints: 1 });
    expect(worse(await findings(bytes, dripping(bytes)))).toEqual([]);
  });

  it("give their records in order, with the places of bodies", async () => {
    const shape: Shape = { ...HVM, layer: "xl", order: "big" };
    const bytes = makeStream(shape);
    const stream = new XenStream(bytesSource(bytes), new StrictDiagnostics("made"));
    const names: string[] = [];
    for await (const item of stream.items()) {
      if (item.kind !== "record") continue;
      names.push(`${item.layer} ${item.ref.type}`);
      expect(viewOf(bytes).getUint32(item.bodyOffset - 8)).toBe(item.type);
    }
    expect(stream.complete).toBe(true);
    expect(names.slice(0, 5)).toEqual([
      "libxl LIBXC_CONTEXT",
      "libxc X86_CPUID_POLICY",
      "libxc X86_MSR_POLICY",
      "libxc STATIC_DATA_END",
      "libxc PAGE_DATA",
    ]);
    expect(names.at(-1)).toBe("libxl END");
  });

  it("take nothing after END from a shared descriptor", async () => {
    const bytes = makeStream({ ...HVM, layer: "libxl" });
    const stream = streamOf(bytesSource(joined(bytes, new Uint8Array(64).fill(7))));
    await verifyXenStream(stream, new StrictDiagnostics("made"), { exact: true });
    const next = new Uint8Array(128);
    expect(await stream.read(next)).toBe(64);
  });

  it("are inspected in both byte orders", async () => {
    for (const order of ["little", "big"] as const) {
      const document = await inspectXenStream(
        bytesSource(makeStream({ ...HVM, layer: "xl", order, pages: 5, vcpus: 2 })),
      );
      expect(document.details.memory).toMatchObject({
        bytes: 5 * 4096,
        types: { NOTAB: 5, XTAB: 1 },
        sends: 5,
      });
      expect(document.details.config).toMatchObject({ name: "made", type: "hvm", vcpus: 1 });
      expect(document.details.hvmParams).toEqual({ STORE_PFN: 0xfeffcn });
      expect(
        document.vcpus?.map(({ registers }) => registers?.kind === "x86" && registers.general.rip),
      ).toEqual([0x1000n, 0x1001n]);
      expect(document.details.emulatorXenstore).toEqual({ "physmap/0/size": "1000" });
    }
  });
});

type Case = readonly [code: string, shape: Shape, change: (records: MadeRecord[]) => readonly MadeRecord[]];

const BROKEN: readonly Case[] = [
  ["libxc/page-data/duplicate-pfn", HVM, body(R.PAGE_DATA, entries([0, 3], [0, 2], [0, 3]))],
  ["libxc/page-data/zero-count", HVM, body(R.PAGE_DATA, entries())],
  ["libxc/page-data/reserved", HVM, body(R.PAGE_DATA, set(4, 1))],
  ["libxc/page-data/reserved-bits", HVM, body(R.PAGE_DATA, set(8 + 6, 0x10))],
  ["libxc/page-data/reserved-type", HVM, body(R.PAGE_DATA, set(8 + 7, 0x60))],
  ["libxc/page-data/count-beyond-body", HVM, body(R.PAGE_DATA, set(0, 0xff, 0xff, 0xff, 0xff))],
  ["libxc/page-data/length", HVM, body(R.PAGE_DATA, shorter)],
  ["libxc/page-data/short", HVM, body(R.PAGE_DATA, () => new Uint8Array(4))],
  ["libxc/page-data/page-table-in-hvm", HVM, body(R.PAGE_DATA, entries([1, 0]))],
  ["libxc/page-data/beyond-p2m", PV, body(R.PAGE_DATA, entries([0, 99]))],
  ["libxc/pv-info/width", PV, body(R.X86_PV_INFO, set(0, 5))],
  ["libxc/pv-info/levels", PV, body(R.X86_PV_INFO, set(1, 3))],
  ["libxc/record/reserved", PV, body(R.X86_PV_INFO, set(4, 1))],
  ["libxc/p2m-frames/count", PV, body(R.X86_PV_P2M_FRAMES, (b) => joined(b, new Uint8Array(8)))],
  ["libxc/p2m-frames/range", PV, body(R.X86_PV_P2M_FRAMES, set(0, 9))],
  ["libxc/p2m-frames/frame-beyond-end", PV, body(R.X86_PV_P2M_FRAMES, set(8, 99))],
  ["libxc/vcpu/id", PV, body(R.X86_PV_VCPU_BASIC, set(0, 0, 0, 1))],
  ["libxc/vcpu/context-size", PV, body(R.X86_PV_VCPU_BASIC, shorter)],
  ["libxc/vcpu/extended-size", PV, body(R.X86_PV_VCPU_EXTENDED, shorter)],
  ["libxc/vcpu/xsave-implausible", PV, body(R.X86_PV_VCPU_XSAVE, set(8, 2))],
  ["libxc/vcpu/msrs-length", PV, body(R.X86_PV_VCPU_MSRS, shorter)],
  ["libxc/vcpu/no-basic", PV, body(R.X86_PV_VCPU_MSRS, set(0, 7))],
  ["libxc/record/empty-content", PV, body(R.X86_PV_VCPU_MSRS, (b) => b.subarray(0, 8))],
  ["libxc/vcpu/repeated", PV, (r) => r.flatMap((x) => (x.type === R.X86_PV_VCPU_XSAVE ? [x, x] : [x]))],
  ["libxc/tsc-info/mode", HVM, body(R.X86_TSC_INFO, set(0, 9))],
  ["libxc/record/length", HVM, body(R.X86_TSC_INFO, shorter)],
  ["libxc/hvm-params/duplicate", HVM, body(R.HVM_PARAMS, (b) => joined(set(0, 2)(b), b.subarray(8)))],
  ["libxc/hvm-params/unknown", HVM, body(R.HVM_PARAMS, set(8, 200))],
  ["hvm-context/empty", HVM, body(R.HVM_CONTEXT, () => empty)],
  ["hvm-context/entry/overrun", HVM, body(R.HVM_CONTEXT, set(6, 0xff))],
  ["hvm-context/header/magic", HVM, body(R.HVM_CONTEXT, set(8, 0))],
  ["hvm-context/header/missing", HVM, body(R.HVM_CONTEXT, set(0, 3))],
  ["hvm-context/entry/unknown", HVM, body(R.HVM_CONTEXT, set(0, 99))],
  ["hvm-context/end/missing", HVM, body(R.HVM_CONTEXT, (b) => b.subarray(0, b.length - 8))],
  ["hvm-context/end/trailing", HVM, body(R.HVM_CONTEXT, (b) => joined(b, new Uint8Array(8)))],
  ["libxc/stream/missing-record", HVM, without(R.HVM_PARAMS)],
  ["libxc/stream/missing-record", PV, without(R.SHARED_INFO)],
  ["libxc/stream/missing-record", HVM, without(R.STATIC_DATA_END)],
  ["libxc/stream/order", HVM, without(R.STATIC_DATA_END)],
  ["libxc/stream/order", PV, (r) => [...r.slice(1, 4), ...r.slice(0, 1), ...r.slice(4)]],
  ["libxc/stream/no-memory", HVM, without(R.PAGE_DATA)],
  ["libxc/stream/repeated-record", HVM, before(R.PAGE_DATA, { type: R.STATIC_DATA_END, body: empty })],
  [
    "libxc/version/record-of-version-3",
    { ...HVM, version: 2 },
    before(R.PAGE_DATA, { type: R.STATIC_DATA_END, body: empty }),
  ],
  ["libxc/guest/pv-record-in-hvm", HVM, before(R.END, { type: R.SHARED_INFO, body: new Uint8Array(4096) })],
  ["libxc/guest/hvm-record-in-pv", PV, before(R.END, { type: R.HVM_CONTEXT, body: empty })],
  ["libxc/record/unknown-mandatory", HVM, before(R.END, { type: 0x77, body: empty })],
  ["libxc/record/unknown-optional", HVM, before(R.END, { type: 0x8000_0001, body: empty })],
  ["libxc/record/not-empty", HVM, body(R.END, () => new Uint8Array(8))],
  ["libxc/record/toolstack", HVM, before(R.END, { type: R.TOOLSTACK, body: empty })],
  ["libxc/record/dirty-pfn-list", HVM, before(R.END, { type: R.CHECKPOINT_DIRTY_PFN_LIST, body: empty })],
  [
    "libxc/stream/memory-after-state",
    HVM,
    (r) => [...r.slice(0, -1), ...r.filter((x) => x.type === R.PAGE_DATA), ...r.slice(-1)],
  ],
];

describe("broken streams", () => {
  it.each(BROKEN)("%s", async (code, shape, change) => {
    expect(codes(await findings(altered(shape, change)))).toContain(code);
  });

  it("data after END are a warning, xl's handshake a note", async () => {
    const bytes = makeStream(HVM);
    const text = "domain is yours, you are cleared to unpause\0";
    const shake = Uint8Array.from(text, (c) => c.charCodeAt(0));
    expect(codes(await findings(joined(bytes, shake)))).toContain("xen/stream/wire-handshake");
    expect(worse(await findings(joined(bytes, shake)))).toEqual([]);
    expect(codes(worse(await findings(joined(bytes, new Uint8Array(9)))))).toEqual(["xen/stream/trailing"]);
  });

  it("a record beyond 128 MiB ends verification", async () => {
    for (const length of [0x0800_0001, 0xffff_ffff]) {
      const bytes = makeStream(HVM);
      viewOf(bytes).setUint32(44, length, true);
      expect(codes(await findings(bytes))).toContain("libxc/record/too-long");
    }
  });

  it("non-zero padding", async () => {
    const bytes = makeStream({ ...HVM, layer: "libxl" });
    // the emulator's state has 18 bytes: its padding stands just before the libxl END
    bytes[bytes.length - 9] = 1;
    expect(codes(await findings(bytes))).toContain("libxl/record/padding");
  });

  it("throw the first error into strict diagnostics", async () => {
    const bytes = altered(HVM, body(R.X86_TSC_INFO, set(0, 9)));
    await expect(verifyXenStream(bytesSource(bytes), new StrictDiagnostics("made"))).rejects.toThrow(
      FormatError,
    );
  });
});

describe("damage", () => {
  const small = makeStream({ ...HVM, layer: "xl", pages: 1 });

  it("every prefix is reported as truncated", async () => {
    // page contents need no cut at each byte
    for (let length = 0; length < small.length; length += length < 500 || length > 4700 ? 1 : 97) {
      const all = await findings(small.subarray(0, length));
      expect(all.some(({ severity }) => severity === "error")).toBe(true);
    }
  });

  it("says how much is missing", async () => {
    const all = await findings(small.subarray(0, small.length - 4));
    expect(all.map(({ message }) => message)).toContain("4 bytes of a record header are missing");
  });

  it("flipping any single bit gives findings and no crash, from a file or in order", async () => {
    const headers = 320;
    for (let bit = 0; bit < headers * 8; bit += STRIDE) {
      const bytes = small.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await findings(bytes);
      if (bit % 5 === 0) await findings(bytes, streamOf(bytesSource(bytes)));
      await inspectXenStream(bytesSource(bytes));
    }
  });

  it("flipping bits anywhere never crashes the reader", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.array(fc.nat(), { minLength: 1, maxLength: 8 }), async (shape, places) => {
        const bytes = makeStream({ ...shape, pages: 2 });
        for (const place of places) {
          const at = place % bytes.length;
          bytes[at] = (bytes[at] ?? 0) ^ (1 << (place & 7));
        }
        await findings(bytes);
        await inspectXenStream(bytesSource(bytes));
      }),
      { numRuns: rounds(150) },
    );
  });

  it("every bit of a record header is found", async () => {
    const bytes = makeStream(HVM);
    // STATIC_DATA_END's header: type or length, no flip of it is valid
    const offset = 24 + 16 + 8 + 24 + 8 + 16;
    expect(viewOf(bytes).getUint32(offset, true)).toBe(R.STATIC_DATA_END);
    for (let bit = 0; bit < 64; bit += 1) {
      const flipped = bytes.slice();
      flipped[offset + (bit >> 3)] = (flipped[offset + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      expect((await findings(flipped)).some(({ severity }) => severity === "error")).toBe(true);
    }
  });
});
