import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource, type ByteSource, type ByteStream, streamOf } from "../../../src/io/byte-source.js";
import { FormatError } from "../../../src/findings/errors.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { detectFormat, inspect, openGuest, verify } from "../../../src/open/index.js";
import { enterEnvelope } from "../../../src/xen/envelopes/read.js";
import {
  LIBVIRT_LIBXL_MAGIC,
  libvirtLibxlHeader,
  XAPI_MAGIC,
  XAPI_RECORD,
  xapiRecordHeader,
} from "../../../src/xen/envelopes/layout.js";
import { isLegacy } from "../../../src/xen/legacy/detect.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { pageSums } from "../guest/model.js";

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const { folder: work, cleanup } = scratch();
afterAll(cleanup);

const unpack = (...name: string[]): Buffer => fs.readFileSync(unzstd(path.join(sharedData, ...name), work));

const XML = "<domain type='xen'><name>db7</name><uuid>00000000-1111-2222-3333-444444444444</uuid></domain>\0";

function libvirt(stream: Uint8Array, version: number, xmlLength = XML.length): Buffer {
  const header = libvirtLibxlHeader.encode(
    { magic: LIBVIRT_LIBXL_MAGIC, version, xmlLength, unused: Array.from({ length: 10 }, () => 0) },
    "little",
  );
  return Buffer.concat([header, Buffer.from(XML), stream]);
}

const record = (type: number, length: number, body: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([xapiRecordHeader.encode({ type, length }, "little"), body]);

/** As xenopsd writes it: the memory image of length 0, then QEMU's state, then the end mark. */
function xapi(type: number, stream: Uint8Array, end = true): Buffer {
  const xenops = Buffer.from("((time 20261121T00:00:00Z)(word_size 64))");
  return Buffer.concat([
    XAPI_MAGIC,
    record(XAPI_RECORD.xenops, xenops.length, xenops),
    record(type, 0, stream),
    ...(type === XAPI_RECORD.libxcLegacy
      ? []
      : [record(XAPI_RECORD.qemuTraditional, 5, Buffer.from("QEMU!"))]),
    ...(end ? [record(XAPI_RECORD.end, 0)] : []),
  ]);
}

interface Wrapped {
  readonly id: string;
  readonly inner: Buffer;
  readonly bytes: Buffer;
}

/** The libxl part of a save (after the xl header) and the libxc part (after LIBXC_CONTEXT, up to its END). */
function cases(): Wrapped[] {
  const save = unpack("xen-v3", "pv64.save.zst");
  const libxl = save.subarray(842);
  // libxl header 16, LIBXC_CONTEXT 8; libxl's END is the last 8 bytes
  const libxc = libxl.subarray(24, libxl.length - 8);
  const legacy = unpack("xen-legacy", "hvm64-xsmall.legacy.zst");
  const legacyLibxl = unpack("xen-legacy", "hvm64-libxl.legacy.zst");
  const bare = unpack("xen-legacy", "pv64-bare.legacy.zst");
  expect(legacy.length).toBeGreaterThan(0);
  return [
    { id: "xen-libvirt", inner: libxl, bytes: libvirt(libxl, 2) },
    { id: "xen-libvirt", inner: legacyLibxl, bytes: libvirt(legacyLibxl, 1) },
    { id: "xen-xapi", inner: libxc, bytes: xapi(XAPI_RECORD.libxc, libxc) },
    { id: "xen-xapi", inner: libxl, bytes: xapi(XAPI_RECORD.libxl, libxl) },
    { id: "xen-xapi", inner: bare, bytes: xapi(XAPI_RECORD.libxcLegacy, bare) },
  ];
}

const sums = async (source: ByteSource): Promise<Map<number, string>> => pageSums(await openGuest(source));

const inspectLegacyLayer = async (bytes: Uint8Array): Promise<unknown> =>
  ((await inspect(bytesSource(bytes))).details as { layer?: unknown }).layer;

describe.skipIf(skip)("envelopes around Xen streams", () => {
  it("are recognised, and the guest inside is the stream's", async () => {
    for (const { id, inner, bytes } of cases()) {
      expect((await detectFormat(bytesSource(bytes))).format.id).toBe(id);
      expect(await sums(bytesSource(bytes))).toEqual(await sums(bytesSource(inner)));
    }
  });

  it("are verified: nothing wrong in them, and damage at its place in the whole file", async () => {
    for (const { inner, bytes, id } of cases()) {
      const { report } = await verify(bytesSource(bytes));
      expect(report.findings.filter(({ severity }) => severity === "error")).toEqual([]);
      const bad = Buffer.from(bytes);
      const at = bytes.indexOf(inner);
      if (inner.readUInt32LE(0) === 0xffffffff) {
        // the type in the domain header
        bad[at + 24] = 9;
        const found = (await verify(bytesSource(bad))).report.findings.filter((f) => f.severity === "error");
        expect(found[0]).toMatchObject({ code: "libxc/domain-header/type", offset: at + 24 });
        expect(id).toBe("xen-xapi");
      }
    }
  });

  it("come from pipes too", async () => {
    for (const { bytes, inner, id } of cases()) {
      const { report } = await verify(streamOf(bytesSource(bytes)));
      expect(report.findings).toEqual([]);
      const [piped, read] = [
        await inspect(streamOf(bytesSource(bytes, "in"), 0)),
        await inspect(bytesSource(bytes, "in")),
      ];
      expect(piped.kind, id).toBe(read.kind);
      expect(piped).toMatchObject({ details: { envelope: { streamOffset: bytes.indexOf(inner) } } });
      if (isLegacy(inner))
        expect(piped).toMatchObject({ details: { layer: (await inspectLegacyLayer(inner)) ?? "" } });
    }
  });

  it("convert: the legacy stream inside converts as it does alone, from a pipe as well", async () => {
    let converted = 0;
    for (const { bytes, inner } of cases()) {
      if (!isLegacy(inner)) continue;
      const alone = new MemorySink();
      await convertLegacy(bytesSource(inner), alone);
      for (const input of [bytesSource(bytes), streamOf(bytesSource(bytes))]) {
        const { stream, envelope } = await enterEnvelope<ByteSource | ByteStream>(input);
        expect(envelope).toBeDefined();
        const wrapped = new MemorySink();
        await convertLegacy(stream, wrapped);
        expect(Buffer.compare(alone.bytes(), wrapped.bytes())).toBe(0);
        converted += 1;
      }
    }
    expect(converted).toBe(4);
  });

  it("leave an input without envelope as it was", async () => {
    const [, second] = cases();
    const inner = second?.inner ?? Buffer.alloc(0);
    const { stream, envelope } = await enterEnvelope(streamOf(bytesSource(inner)));
    expect(envelope).toBeUndefined();
    const [again, alone] = [new MemorySink(), new MemorySink()];
    await convertLegacy(stream, again);
    await convertLegacy(bytesSource(inner), alone);
    expect(Buffer.compare(again.bytes(), alone.bytes())).toBe(0);
  });

  it("report the domain's name and the records", async () => {
    const [first, , third] = cases();
    const guest = await openGuest(bytesSource(first?.bytes ?? Buffer.alloc(0)));
    expect(guest.facts).toMatchObject({ name: "db7", uuid: "00000000-1111-2222-3333-444444444444" });
    const entered = await enterEnvelope(bytesSource(third?.bytes ?? Buffer.alloc(0)));
    expect(entered.envelope?.records.map(({ type }) => type)).toEqual([
      "Xenops",
      "libxc",
      "QEMU traditional",
      "end of image",
    ]);
  });

  it("a missing end mark is a warning", async () => {
    const [, , third] = cases();
    const bytes = xapi(XAPI_RECORD.libxc, third?.inner ?? Buffer.alloc(0), false);
    const { report } = await verify(bytesSource(bytes));
    expect(report.findings.map(({ code }) => code)).toContain("xapi/end");
  });
});

describe("damaged envelopes", () => {
  const open = async (bytes: Uint8Array): Promise<string> => {
    try {
      await openGuest(bytesSource(bytes));
    } catch (error) {
      if (error instanceof FormatError) return error.code;
      throw error;
    }
    return "opened";
  };

  it("are refused with what is wrong", async () => {
    const nothing = Buffer.alloc(64, 0x20);
    expect(await open(libvirt(nothing, 2))).toBe("envelope/no-stream");
    expect(await open(libvirt(nothing, 3))).toBe("libvirt-libxl/version");
    expect(await open(libvirt(nothing, 2, 0))).toBe("libvirt-libxl/xml-length");
    expect(await open(libvirt(nothing, 2, 0xffffffff))).toBe("libvirt-libxl/xml-length");
    expect(await open(libvirt(nothing, 2, 4000))).toBe("envelope/truncated");
    expect(await open(libvirt(nothing, 2).subarray(0, 40))).toBe("envelope/truncated");
    expect(await open(Buffer.from(XAPI_MAGIC))).toBe("envelope/truncated");
    expect(await open(Buffer.concat([XAPI_MAGIC, record(XAPI_RECORD.end, 0)]))).toBe("xapi/record/no-image");
    expect(await open(Buffer.concat([XAPI_MAGIC, record(7, 0)]))).toBe("xapi/record/type");
    expect(await open(Buffer.concat([XAPI_MAGIC, record(XAPI_RECORD.xenops, 2 ** 50)]))).toBe(
      "envelope/truncated",
    );
    expect(await open(xapi(XAPI_RECORD.libxc, nothing))).toBe("envelope/no-stream");
  });
});
