import { createHash } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { type ByteStream, bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { FormatError } from "../../../src/findings/errors.js";
import type { ConversionReport } from "../../../src/xen/legacy/conversion-report.js";
import { type ConvertOptions, convertLegacy } from "../../../src/xen/legacy/convert.js";
import { Report } from "../../../src/findings/report.js";
import { verifyXenStream } from "../../../src/xen/stream/verify.js";
import { inspectLegacy, verifyLegacy } from "../../../src/xen/legacy/inspect.js";
import { inspectXenStream } from "../../../src/xen/stream/inspect.js";
import { scratch } from "../../shared.js";
import { type Converted, crc32, readConverted } from "./read-converted.js";
import {
  COMMITTED,
  edited,
  type Malformed,
  MALFORMED,
  type Meta,
  NAMES,
  type Sample,
  sample,
} from "./streams.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

type Kind = "source" | "stream";

/** Hands out pieces of odd sizes, as a pipe may. */
function pipe(bytes: Uint8Array): ByteStream & { taken: number } {
  const inner = streamOf(bytesSource(bytes, "pipe"));
  let call = 0;
  const stream = {
    name: "pipe",
    taken: 0,
    async read(into: Uint8Array): Promise<number> {
      call += 1;
      const n = await inner.read(into.subarray(0, 1 + ((call * 7919) % 65536)));
      stream.taken += n;
      return n;
    },
  };
  return stream;
}

async function convert(
  stream: Uint8Array,
  options: ConvertOptions = {},
  kind: Kind = "source",
): Promise<{ out: Converted; bytes: Buffer; report: ConversionReport }> {
  const sink = new MemorySink();
  const report = await convertLegacy(
    kind === "source" ? bytesSource(stream, "stream") : pipe(stream),
    sink,
    options,
  );
  const bytes = Buffer.from(sink.bytes());
  return { out: readConverted(bytes), bytes, report };
}

/** Refuses tmem pages by default: the rest of such a stream is tested all the same. */
const lossy = (meta: Meta): ConvertOptions => ({ allowLoss: meta.expected.startsWith("refuse") });

const LIBXC = {
  pvInfo: 2,
  p2mFrames: 3,
  basic: 4,
  extended: 5,
  xsave: 6,
  sharedInfo: 7,
  tsc: 8,
  context: 9,
  staticDataEnd: 16,
} as const;

function libxc(out: Converted, type: number): Buffer[] {
  return out.records
    .filter((record) => record.layer === "libxc" && record.type === type)
    .map(({ body }) => body);
}

function libxl(out: Converted, type: number): Buffer[] {
  return out.records
    .filter((record) => record.layer === "libxl" && record.type === type)
    .map(({ body }) => body);
}

function expectSameGuest({ meta, final }: Sample, out: Converted): void {
  const wrong = [...final].filter(([pfn, page]) => out.pages.get(pfn) !== page).map(([pfn]) => pfn);
  const surplus = [...out.pages.keys()].filter((pfn) => !final.has(pfn));
  expect({ wrong, surplus }).toEqual({ wrong: [], surplus: [] });
  expect(out.guest).toBe(meta.guest);
  const [tsc] = libxc(out, LIBXC.tsc);
  expect({
    mode: tsc?.readUInt32LE(0),
    khz: tsc?.readUInt32LE(4),
    nsec: Number(tsc?.readBigUInt64LE(8)),
    incarnation: tsc?.readUInt32LE(16),
  }).toEqual(meta.tsc_info);
  expect(out.parameters).toEqual(meta.hvm_params ?? {});
  const [context] = libxc(out, LIBXC.context);
  if (meta.hvm_context !== undefined) {
    expect({ len: context?.length, crc32: crc32(context ?? Buffer.alloc(0)) }).toEqual(meta.hvm_context);
  }
  if (meta.pv !== undefined) expectSameProcessors(meta.pv, out);
}

function expectSameProcessors(pv: NonNullable<Meta["pv"]>, out: Converted): void {
  const state = (type: number): string[] =>
    libxc(out, type).map((body) => `${body.readUInt32LE(0)} ${crc32(body.subarray(8))}`);
  expect(state(LIBXC.basic)).toEqual(pv.vcpus.map(({ id, basic_crc }) => `${id} ${basic_crc}`));
  expect(state(LIBXC.extended)).toEqual(
    pv.vcpus.filter(({ ext_crc }) => ext_crc !== undefined).map(({ id, ext_crc }) => `${id} ${ext_crc}`),
  );
  expect(state(LIBXC.xsave)).toEqual(
    pv.vcpus.flatMap(({ id, xsave }) =>
      xsave === null || xsave === undefined ? [] : [`${id} ${xsave.crc}`],
    ),
  );
  expect(libxc(out, LIBXC.sharedInfo).map(crc32)).toEqual([pv.shared_info_crc32]);
  expect(libxc(out, LIBXC.p2mFrames).map((body) => (body.length - 8) / 8)).toEqual([pv.p2m_frames]);
}

function expectSameEmulator(meta: Meta, out: Converted): void {
  const [emulator] = libxl(out, 3);
  const length = emulator === undefined ? undefined : emulator.length - 8;
  const sha256 = emulator && createHash("sha256").update(emulator.subarray(8)).digest("hex");
  expect({ length, sha256 }).toEqual({ length: meta.qemu?.len, sha256: meta.qemu?.sha256 });
  const strings = libxl(out, 2).flatMap((body) =>
    body.subarray(8).toString("latin1").split("\0").slice(0, -1),
  );
  const expected = (meta.guest === "hvm" ? (meta.toolstack?.physmap ?? []) : []).flatMap((entry) => {
    const key = `physmap/${entry.phys_offset}`;
    const name = entry.name === null ? [] : [`${key}/name`, entry.name];
    return [`${key}/start_addr`, entry.start_addr, `${key}/size`, entry.size, ...name];
  });
  expect(strings).toEqual(expected);
}

describe.each(NAMES)("genuine stream %s", (name) => {
  const one = sample(name, folder);
  const { meta, stream } = one;
  const options = lossy(meta);

  it("converts to the same guest, from a file and from a pipe", async () => {
    const { out, bytes, report } = await convert(stream, options);
    expectSameGuest(one, out);
    if (meta.envelope !== "none") expectSameEmulator(meta, out);
    expect(report.checkpoints).toEqual({
      complete: meta.checkpoints_complete,
      begun: meta.checkpoints_begun,
      marked: meta.last_checkpoint_chunk,
    });
    expect(report.input.width).toBe(meta.width);
    expect(report.vcpus).toEqual(meta.vcpus_online);
    expect(out.xlHeader !== undefined).toBe(meta.envelope === "xl");
    expect(out.libxl).toBe(meta.envelope !== "none");
    expect(out.version).toBe(3);
    expect(libxc(out, LIBXC.staticDataEnd)).toHaveLength(1);
    expect(out.rest).toHaveLength(0);
    const verdict = new Report("output");
    await verifyXenStream(bytesSource(bytes), verdict, {});
    expect(verdict.findings).toEqual([]);
    const piped = await convert(stream, options, "stream");
    expect(piped.bytes.equals(bytes)).toBe(true);
    expect(piped.report.findings.map(({ code }) => code)).toEqual(report.findings.map(({ code }) => code));
  });

  it("is verified and inspected as the guest that the converted stream shows", async () => {
    const report = new Report(name);
    await verifyLegacy(bytesSource(stream, name), report);
    const torn = meta.checkpoints_begun > meta.checkpoints_complete;
    const amiss = torn || /warn|dropped|tmem|refuse/.test(meta.expected);
    expect({ errors: report.count("error"), amiss: report.count("warning") > 0 }).toEqual({
      errors: 0,
      amiss,
    });
    const before = await inspectLegacy(bytesSource(stream, name));
    const { bytes } = await convert(stream, options);
    const after = await inspectXenStream(bytesSource(bytes, name), {});
    expect(before.details.hvmParams).toEqual(after.details.hvmParams ?? {});
    expect(before.details.tsc).toEqual(after.details.tsc);
    expect(before.details.hvmContext).toEqual(after.details.hvmContext);
    expect(before.vcpus?.map(({ id }) => id)).toEqual(after.vcpus?.map(({ id }) => id));
    if (!torn) expect(before.vcpus).toEqual(after.vcpus);
    expect(before.details.config).toEqual(after.details.config);
    if (!torn) expect(before.details.pages).toEqual(after.details.memory.types);
  });

  it("converts to version 2 and to a bare libxc stream", async () => {
    const { out } = await convert(stream, { ...options, version: 2, format: "libxc" }, "stream");
    expectSameGuest(one, out);
    expect({ version: out.version, libxl: out.libxl }).toEqual({ version: 2, libxl: false });
    expect(libxc(out, LIBXC.staticDataEnd)).toHaveLength(0);
  });

  it("warns where something is amiss, and refuses then when strict", async () => {
    const { report } = await convert(stream, options);
    const warnings = report.findings.filter(({ severity }) => severity === "warning");
    const expected =
      /warn|dropped|cut/.test(meta.expected) || meta.checkpoints_begun > meta.checkpoints_complete;
    expect(warnings.length > 0).toBe(expected || meta.expected.startsWith("refuse"));
    for (const { pfn } of meta.sender_bug ?? []) {
      expect(warnings.map(({ message }) => message).join("\n")).toContain(`pfn 0x${pfn} `);
    }
    if (warnings.length > 0) {
      await expect(convert(stream, { ...options, strict: true })).rejects.toThrow(FormatError);
    }
  });

  it("takes no byte beyond the stream's end from a pipe", async () => {
    if (!meta.last_checkpoint_chunk || meta.qemu?.sig === "QemuDeviceModelRecord") return;
    const handshake = Buffer.from("domain is yours, you are cleared to unpause\0");
    const shared = pipe(Buffer.concat([stream, handshake]));
    const bare = meta.envelope === "none";
    const sink = new MemorySink();
    await convertLegacy(shared, sink, { ...options, ...(bare ? { skipQemu: true } : {}) });
    expect(shared.taken).toBe(meta.consumed_bytes);
  });
});

describe.each(NAMES.filter((name) => sample(name, folder).meta.expected.startsWith("refuse")))(
  "%s",
  (name) => {
    it("is refused unless a loss is allowed", async () => {
      const { stream } = sample(name, folder);
      await expect(convert(stream)).rejects.toThrow(/tmem pools would be lost/);
      await expect(convert(stream, {}, "stream")).rejects.toThrow(/tmem pools would be lost/);
      const { report } = await convert(stream, { allowLoss: true });
      expect(report.losses.join()).toContain("3 pages");
    });
  },
);

/** Cases that a reader may refuse or take back to the checkpoint before. */
const ONE_OF_TWO = "refuse, or go back to checkpoint 1 with a warning; never a half-applied checkpoint";

async function outcome(
  stream: Buffer,
  kind: Kind,
): Promise<{ refused?: unknown; report?: ConversionReport; out?: Converted }> {
  try {
    return await convert(stream, {}, kind);
  } catch (error) {
    return { refused: error };
  }
}

describe.each(MALFORMED)("malformed: $name ($why)", (one: Malformed) => {
  it.each<Kind>(["source", "stream"])("has the expected outcome from a %s", async (kind) => {
    const base = sample(one.base, folder);
    const stream = edited(base.stream, one.ops);
    expect({ length: stream.length, crc32: crc32(stream) }).toEqual({
      length: one.stream_bytes,
      crc32: one.crc32,
    });
    const { refused, report, out } = await outcome(stream, kind);
    if (one.expect === "refuse") {
      expect(refused).toBeInstanceOf(FormatError);
      return;
    }
    expect(refused).toBeUndefined();
    const warnings = report?.findings.filter(({ severity }) => severity !== "note") ?? [];
    if (one.expect === "ok") expect(warnings).toEqual([]);
    else if (!(kind === "stream" && one.name === "trailing-octets")) expect(warnings).not.toEqual([]);
    if (one.expect === ONE_OF_TWO || one.expect.includes("result is checkpoint 1")) {
      const first = await convert(base.stream.subarray(0, report?.input.bytes));
      expect(report?.checkpoints.complete).toBe(1);
      expect(out?.pages).toEqual(first.out.pages);
    } else if (out !== undefined) {
      expect(out.pages).toEqual(base.final);
      const changed = one.name === "param-twice" ? { "12": "0x1234000" } : {};
      expect(out.parameters).toEqual({ ...base.meta.hvm_params, ...changed });
    }
  });
});

describe("a PV stream without a vCPU map", () => {
  it.each(["pv64-vcpu-info-missing", "pv32-vcpu-info-missing"])("%s marks vCPU 0 online", async (name) => {
    const one = MALFORMED.find((each) => each.name === name);
    const base = sample(one?.base ?? "", folder);
    const { out } = await convert(edited(base.stream, one?.ops ?? []));
    const whole = await convert(base.stream);
    const [given] = libxc(out, LIBXC.basic);
    const [expected] = libxc(whole.out, LIBXC.basic);
    expected?.writeUInt32LE(expected.readUInt32LE(8 + 512) | 32, 8 + 512);
    expect(given).toEqual(expected);
  });
});

describe("options", () => {
  const hvm = sample("hvm64-xsmall", folder);
  const pv = sample("pv64-xsmall", folder);
  const bare = sample("hvm64-bare", folder);

  it("refuses claims that the stream contradicts", async () => {
    await expect(convert(hvm.stream, { width: 32 })).rejects.toThrow(/64-bit one wrote/);
    await expect(convert(hvm.stream, { guest: "pv" })).rejects.toThrow(/hvm stream/);
    await expect(convert(pv.stream, { guest: "hvm" })).rejects.toThrow(/pv stream/);
  });

  it("trusts the stream over a width that is a guess, with a warning", async () => {
    const { out, report } = await convert(pv.stream, { width: 32, widthIsGuess: true, guest: "pv" });
    expectSameGuest(pv, out);
    expect(report.findings.map(({ code }) => code)).toEqual(["legacy/width-guess"]);
  });

  it("changes the outermost layer, and reports what is lost", async () => {
    const libxlOnly = await convert(hvm.stream, { format: "libxl" });
    expect(libxlOnly.out.xlHeader).toBeUndefined();
    expect(libxlOnly.report.losses.join()).toContain("configuration");
    const libxcOnly = await convert(hvm.stream, { format: "libxc" });
    expect(libxcOnly.report.losses).toHaveLength(3);
    const xl = await convert(pv.stream, { format: "xl" });
    expect(xl.out.xlHeader).toHaveLength(48);
  });

  it("keeps the xl header but for the flag of the new format", async () => {
    const { out } = await convert(hvm.stream);
    const expected = Buffer.from(hvm.stream.subarray(0, 322));
    expected.writeUInt32LE(3, 36);
    expect(out.xlHeader).toEqual(expected);
  });

  it("refuses a configuration that xl can't read", async () => {
    const refusal = { code: "legacy/xl-config", place: { offset: 48 } };
    const damaged = Buffer.from(hvm.stream);
    damaged[60] = 0;
    await expect(convert(damaged)).rejects.toMatchObject(refusal);
    const longer = Buffer.from(hvm.stream);
    longer.writeUInt32LE(longer.readUInt32LE(48) + 1, 48);
    await expect(convert(longer)).rejects.toMatchObject(refusal);
  });

  it("requires a QEMU record for libxl output, unless it is skipped", async () => {
    await expect(convert(bare.stream, { format: "libxl" })).rejects.toThrow(/QEMU record/);
    const { out } = await convert(bare.stream, { format: "libxl", skipQemu: true });
    expect(libxl(out, 3)).toEqual([]);
    expectSameGuest(bare, out);
  });

  it("puts the QEMU record after a libxc stream where asked to", async () => {
    for (const kind of ["source", "stream"] as const) {
      const { out } = await convert(hvm.stream, { format: "libxc", keepQemuRecord: true }, kind);
      expect(out.rest.subarray(0, 21).toString()).toBe("DeviceModelRecord0002");
      expect(out.rest.readUInt32LE(21)).toBe(out.rest.length - 25);
      expect(out.rest).toEqual(hvm.stream.subarray(-out.rest.length));
    }
  });

  it("writes a plain HVM stream of known layer while reading it, with the same bytes", async () => {
    for (const name of COMMITTED) {
      const { stream, meta } = sample(name, folder);
      if (meta.guest !== "hvm" || meta.envelope === "none") continue;
      const format = meta.envelope;
      const options = { ...lossy(meta), format } as const;
      const filed = await convert(stream, options);
      const piped = await convert(stream, options, "stream");
      expect(piped.bytes.equals(filed.bytes)).toBe(true);
      const live = meta.checkpoints_begun > 1 || /live/.test(name);
      expect(piped.report.output.streamed).toBe(!live);
    }
  });
});
