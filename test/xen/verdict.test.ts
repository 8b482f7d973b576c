import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../src/findings/errors.js";
import { Report } from "../../src/findings/report.js";
import type { InputFormat } from "../../src/guest/input-format.js";
import { type ByteSource, type ByteStream, bytesSource } from "../../src/io/byte-source.js";
import { xapiSave } from "../../src/xen/envelopes/format.js";
import { convertLegacy } from "../../src/xen/legacy/convert.js";
import { xenLegacy } from "../../src/xen/legacy/format.js";
import { xenStream } from "../../src/xen/stream/format.js";
import { verifyAs } from "../verify-as.js";
import { hasShared, sharedData, skipUnless } from "../shared.js";
import { SparseMemorySink } from "../vmcore/synthetic.js";
import { hvmContext, LegacyMaker } from "./legacy/make-legacy.js";

const noData = skipUnless(hasShared, "shared/data");

function load(name: string): ByteSource {
  return bytesSource(fs.readFileSync(path.join(sharedData, "fuzz", name)), name);
}

function made(context: Uint8Array, tscMode = 1): ByteSource {
  const parts: Uint8Array[] = [];
  new LegacyMaker(64, (bytes) => parts.push(Uint8Array.from(bytes)))
    .hvmHeader(2)
    .tsc(tscMode, 5n, 1000, 0)
    .batch([0], new Uint8Array(4096).fill(7))
    .vcpuInfo(0, [0])
    .lastCheckpoint()
    .endOfBody()
    .hvmTail([1n, 2n, 3n], context)
    .qemu(new Uint8Array(8));
  return bytesSource(Buffer.concat(parts), "made");
}

async function errorsOf(format: InputFormat, input: ByteSource): Promise<string[]> {
  const report = await verifyAs(format, input);
  return report.findings.filter(({ severity }) => severity === "error").map(({ code }) => code);
}

async function codeOf(run: Promise<unknown>): Promise<string | undefined> {
  return run.then(
    () => undefined,
    (error: unknown) => (error instanceof FormatError ? error.code : String(error)),
  );
}

describe("one verdict of verify, convert and extract", () => {
  const broken = Uint8Array.from(hvmContext(1));
  broken[6] = 0x80;

  it.each([
    ["a broken HVM context", made(broken), "hvm-context/entry/overrun", /vCPUs may be missing/],
    ["an impossible TSC mode", made(hvmContext(1), 9), "legacy/tsc-info/mode", /TSC mode 9/],
  ])("%s of a legacy stream", async (_, input, code, warning) => {
    expect(await errorsOf(xenLegacy, input)).toEqual([code]);
    expect(await codeOf(convertLegacy(input, new SparseMemorySink()))).toBe(code);
    const guest = await xenLegacy.reader.openGuest(input, {});
    expect(guest.warnings.join("\n")).toMatch(warning);
    expect(await guest.memory.read(0, new Uint8Array(4096))).toBe(4096);
  });

  it("a broken HVM context of a later checkpoint: what follows the first is dropped, with a warning", async () => {
    const parts: Uint8Array[] = [];
    const maker = new LegacyMaker(64, (bytes) => parts.push(Uint8Array.from(bytes)));
    maker.hvmHeader(2);
    for (const context of [hvmContext(1), broken])
      maker
        .batch([0], new Uint8Array(4096).fill(context === broken ? 9 : 7))
        .vcpuInfo(0, [0])
        .endOfBody()
        .hvmTail([1n, 2n, 3n], context)
        .qemu(new Uint8Array(8));
    const input = bytesSource(Buffer.concat(parts), "two");
    const report = await verifyAs(xenLegacy, input);
    expect(report.findings.map(({ severity, code }) => [severity, code])).toEqual([
      ["warning", "legacy/checkpoint/incomplete"],
    ]);
    const sink = new SparseMemorySink();
    const converted = await convertLegacy(input, sink, { format: "libxc" });
    expect(converted.findings.map(({ code }) => code)).toEqual(["legacy/checkpoint/incomplete"]);
    const output = bytesSource(sink.bytes);
    expect(await errorsOf(xenStream, output)).toEqual([]);
    const page = new Uint8Array(1);
    await (await xenStream.reader.openGuest(output, {})).memory.read(0, page);
    expect([...page]).toEqual([7]);
  });

  it("what is sound is converted to what verify calls valid", async () => {
    const sink = new SparseMemorySink();
    expect(await errorsOf(xenLegacy, made(hvmContext(1)))).toEqual([]);
    await convertLegacy(made(hvmContext(1)), sink, { format: "libxc" });
    expect(await errorsOf(xenStream, bytesSource(sink.bytes))).toEqual([]);
  });

  it.skipIf(noData).each([
    ["legacy-hvm-context-broken.bin", "hvm-context/entry/overrun"],
    ["legacy-xl-config-not-json.bin", "legacy/xl-config"],
  ])("%s", async (name, code) => {
    expect(await errorsOf(xenLegacy, load(name))).toEqual([code]);
    expect(await codeOf(convertLegacy(load(name), new SparseMemorySink()))).toBe(code);
    expect((await xenLegacy.reader.openGuest(load(name), {})).warnings).toHaveLength(1);
  });

  it.skipIf(noData)("v3-hvm-context-broken.bin: extracting says that processors are lost", async () => {
    const guest = await xenStream.reader.openGuest(load("v3-hvm-context-broken.bin"), {});
    expect(guest.vcpus).toEqual([]);
    expect(guest.warnings.join("\n")).toMatch(/vCPUs may be missing \[hvm-context\/entry\/overrun\]/);
  });

  it.skipIf(noData)("a pfn beyond any machine is refused by both", async () => {
    const code = "libxc/page-data/beyond-p2m";
    expect(await errorsOf(xenStream, load("xen-pfn-beyond-2e40.bin"))).toContain(code);
    expect(await codeOf(xenStream.reader.openGuest(load("xen-pfn-beyond-2e40.bin"), {}))).toBe(code);
  });

  it.skipIf(noData)("memory in spool and input is read over their border", async () => {
    const guest = await xenLegacy.reader.openGuest(load("legacy-remus-compressed.bin"), {});
    let bytes = 0;
    for await (const piece of guest.memory.pieces()) bytes += piece.length;
    expect(bytes).toBe(16384);
    await guest.close?.();
  });
});

describe("an XAPI image whose record states a length", () => {
  it.skipIf(noData)("is the same from a file and from a pipe", async () => {
    const source = load("xapi-length-ignored-by-pipe.bin");
    const code = await codeOf(xapiSave.reader.verify?.(source, new Report("file"), {}) ?? Promise.resolve());
    expect(code).toBe("envelope/no-stream");
    for (const most of [1, 7, 4096]) {
      let at = 0;
      const pipe: ByteStream = {
        name: "pipe",
        async read(into) {
          const n = await source.read(at, into.subarray(0, most));
          at += n;
          return n;
        },
      };
      const run = xapiSave.reader.verify?.(pipe as unknown as ByteSource, new Report("pipe"), {});
      expect(await codeOf(run ?? Promise.resolve())).toBe(code);
    }
  });
});
