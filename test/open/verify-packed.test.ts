import * as zlib from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import * as seeds from "../../fuzz/seeds.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { type Verification, verify } from "../../src/open/open.js";
import { verifyPacked } from "../../src/open/verify-packed.js";

const packed = (bytes: Uint8Array): Uint8Array => Uint8Array.from(zlib.gzipSync(bytes, { level: 1 }));

/** What is found where all is unpacked before. */
async function unpackedFirst(bytes: Uint8Array): Promise<Verification> {
  const access = await openRandomAccess(bytesSource(bytes, "guest.gz"), { keepTorn: true });
  try {
    return await verify(access.source);
  } finally {
    access.close();
  }
}

const said = ({ report, format, title, packed: from }: Verification): unknown => ({
  findings: report.findings,
  verdict: report.verdict,
  format,
  title,
  from,
});

describe("verifyPacked", () => {
  beforeAll(installNodeCodecs);

  const sequential = {
    ...seeds.xenStreams(),
    ...seeds.legacyStreams(),
    ...seeds.qemuStreams(),
    ...seeds.libvirtSaves(),
  };
  let proven = 0;
  for (const [name, bytes] of Object.entries(sequential))
    it(`${name}: what is proven valid on the way is what is found in what it unpacks to`, async () => {
      const onTheWay = await verifyPacked(bytesSource(packed(bytes), "guest.gz"), {});
      const expected = await unpackedFirst(packed(bytes));
      const { report } = expected;
      expect(onTheWay !== undefined).toBe(report.count("error") + report.count("warning") === 0);
      if (onTheWay === undefined) return;
      proven += 1;
      expect(said(onTheWay)).toEqual(said(expected));
    });

  it("proves most of them", () => {
    expect(proven).toBeGreaterThan(Object.keys(sequential).length / 2);
  });

  it("proves nothing of an input with bytes after its end, with a fault, cut, or not packed", async () => {
    const [stream] = Object.values(seeds.xenStreams());
    if (stream === undefined) throw new Error("no Xen stream");
    const longer = Buffer.concat([stream, new Uint8Array(8).fill(1)]);
    const wrong = stream.slice();
    wrong.fill(0xff, wrong.length - 8);
    const whole = packed(stream);
    for (const input of [packed(longer), packed(wrong), whole.subarray(0, -9), stream])
      expect(await verifyPacked(bytesSource(input), {})).toBeUndefined();
    expect(await verifyPacked(bytesSource(whole), {})).toBeDefined();
  });

  it("an input that is still packed is said to be, whatever its bytes look like", async () => {
    const [stream] = Object.values(seeds.qemuStreams());
    if (stream === undefined) throw new Error("no QEMU stream");
    // stored, not deflated: the stream's magic number is in sight
    const stored = Uint8Array.from(zlib.gzipSync(stream, { level: 0 }));
    const { report } = await verify(bytesSource(stored));
    expect(report.findings.map(({ code }) => code)).toEqual(["open/compressed"]);
  });

  it("leaves formats that are read at any offset to those who unpack", async () => {
    for (const bytes of Object.values(await seeds.kdumps()))
      expect(await verifyPacked(bytesSource(packed(bytes)), {})).toBeUndefined();
  });
});
