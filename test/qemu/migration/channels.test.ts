import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { selectMemory } from "../../../src/guest/selection.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { type ByteSource, bytesSource } from "../../../src/io/byte-source.js";
import { openGuest, verify } from "../../../src/open/open.js";
import {
  fixtures,
  hasProgram,
  hasShared,
  rounds,
  runCli,
  scratch,
  sharedData,
  skipUnless,
  unzstd,
} from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noXz = skipUnless(hasProgram("xz"), "xz");

interface Range {
  readonly start: number;
  readonly size: number;
  readonly sha256: string;
}

const captured = path.join(fixtures, "qemu-migration/channels");
const truth = JSON.parse(fs.readFileSync(path.join(captured, "memory.json"), "utf8")) as Record<
  string,
  Range[]
>;
const CHANNELS: Readonly<Record<string, number>> = { live11legacy: 2, live11zlib: 3, live10zstd: 2 };

const unpack = (name: string): Uint8Array =>
  new Uint8Array(execFileSync("xz", ["-dc", path.join(captured, `${name}.xz`)], { maxBuffer: 1 << 26 }));

const channelNames = (name: string): string[] =>
  Array.from({ length: CHANNELS[name] ?? 0 }, (_, i) => `${name}.channel${i + 1}`);

/** Opens with `channels`, whose bytes `files` gives by name. */
const opening = (files: Readonly<Record<string, Uint8Array>>) => ({
  openFile: async (name: string): Promise<ByteSource> => bytesSource(files[name] ?? new Uint8Array(0), name),
  qemu: { channels: Object.keys(files) },
});

const filesOf = (name: string): Record<string, Uint8Array> =>
  Object.fromEntries(channelNames(name).map((channel) => [channel, unpack(channel)]));

/** Offset of the contents of the packet that has most. */
function largestData(channel: Uint8Array): number {
  const view = new DataView(channel.buffer, channel.byteOffset, channel.length);
  let [best, most] = [0, 0];
  for (let at = 64; at + 1344 <= channel.length; ) {
    const size = view.getUint32(at + 16) === 0 ? 0 : view.getUint32(at + 20);
    if (size > most) [best, most] = [at + 1344, size];
    at += 1344 + size;
  }
  return best;
}

async function sums(guest: GuestImage, ranges: readonly Range[]): Promise<Range[]> {
  const found: Range[] = [];
  for (const { start, size } of ranges) {
    const bytes = new Uint8Array(size);
    const n = await guest.memory.read(start, bytes);
    found.push({ start, size: n, sha256: createHash("sha256").update(bytes).digest("hex") });
  }
  return found;
}

describe.skipIf(noXz)("multifd migrations of a guest that ran on", () => {
  it.each(Object.keys(CHANNELS))("%s: with its channels it is the memory that QEMU dumped", async (name) => {
    const main = bytesSource(unpack(`${name}.main`));
    const files = filesOf(name);
    const { report } = await verify(main, opening(files));
    expect(report.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
    const guest = await openGuest(main, opening(files));
    expect(selectMemory(guest).absent).toBe(0);
    expect(await sums(guest, truth[name] ?? [])).toEqual(truth[name]);
    expect(guest.vcpus[0]?.registers?.kind).toBe("x86");
    await guest.close?.();
    // in whatever order they are given
    const reversed = Object.fromEntries(Object.entries(files).toReversed());
    const again = await openGuest(main, opening(reversed));
    expect(await sums(again, truth[name] ?? [])).toEqual(truth[name]);
    await again.close?.();
  });

  it.each(Object.keys(CHANNELS))("%s: without them it says where the pages went", async (name) => {
    const main = bytesSource(unpack(`${name}.main`));
    const guest = await openGuest(main);
    const reasons = new Set(
      selectMemory(guest).missing.map(({ reason }) => `${reason?.kind}: ${reason?.text}`),
    );
    expect([...reasons]).toEqual(["elsewhere: sent through multifd channels, which are not here"]);
    const { report } = await verify(main);
    expect(new Set(report.findings.map(({ code }) => code))).toEqual(new Set(["qevm/ram/sent-elsewhere"]));
  });

  it("one channel alone gives its pages; the others' are missing", async () => {
    const [name] = channelNames("live10zstd");
    const guest = await openGuest(
      bytesSource(unpack("live10zstd.main")),
      opening({ one: unpack(name ?? "") }),
    );
    const { present, absent } = selectMemory(guest);
    expect(present).toBeGreaterThan(1 << 20);
    expect(absent).toBeGreaterThan(1 << 20);
    await guest.close?.();
  });

  it("damage in a channel is reported, and nothing that is lost reads as memory", async () => {
    const main = unpack("live10zstd.main");
    const files = filesOf("live10zstd");
    const [first = new Uint8Array(0), second = new Uint8Array(0)] = Object.values(files);
    const whole = selectMemory(await openGuest(bytesSource(main), opening(files)));
    const damaged = first.slice();
    damaged.fill(0x55, largestData(first) + 100, largestData(first) + 400);
    const cases: readonly (readonly [string, Uint8Array])[] = [
      ["qevm/channel/truncated", first.subarray(0, first.length - 100)],
      ["qevm/channel/truncated", first.subarray(0, 3000)],
      ["qevm/channel/data", damaged],
      ["qevm/channel/head", Uint8Array.of(1, 2, 3, 4)],
      ["qevm/channel/head", main],
    ];
    for (const [code, bytes] of cases) {
      const how = opening({ first: bytes, second });
      const { report } = await verify(bytesSource(main), how);
      expect(report.findings.map((finding) => finding.code)).toContain(code);
      await expect(openGuest(bytesSource(main), how)).rejects.toMatchObject({ code });
      const guest = await openGuest(bytesSource(main), { ...how, partial: true });
      const { present, zero } = selectMemory(guest);
      expect(present + zero).toBeLessThanOrEqual(whole.present + whole.zero);
      for await (const { length } of guest.memory.pieces()) expect(length).toBeGreaterThan(0);
      await guest.close?.();
    }
  });

  it("nothing in a channel brings it down", async () => {
    const main = bytesSource(unpack("live11zlib.main"));
    const [channel = new Uint8Array(0)] = Object.values(filesOf("live11zlib"));
    const place = fc.oneof(fc.nat(1500), fc.nat(channel.length - 1));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(place, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 }),
        fc.nat(channel.length),
        async (edits, length) => {
          const bytes = channel.slice(0, Math.max(4, length));
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          // what is wrong is a finding, never an exception
          await verify(main, opening({ one: bytes }));
        },
      ),
      { numRuns: rounds(60) },
    );
  });
});

describe.skipIf(noXz)("a cpr-transfer", () => {
  const main = (): ByteSource => bytesSource(unpack("cpr.main"));

  it("says that the memory was handed over, by name where its channel is given", async () => {
    const alone = await openGuest(main());
    expect(selectMemory(alone).missing.map(({ reason }) => reason?.text)).toEqual([
      "not a page was sent: through multifd channels, or handed over (cpr-transfer)",
      "not a page was sent: through multifd channels, or handed over (cpr-transfer)",
    ]);
    const named = await openGuest(main(), opening({ cpr: unpack("cpr.cpr") }));
    const { missing } = selectMemory(named);
    // the file of m0 is opened by its path, so the channel hands over only what has none
    expect(missing.map(({ start, reason }) => [start, reason?.text])).toEqual([
      [0, "not a page was sent: through multifd channels, or handed over (cpr-transfer)"],
      [0xfffc0000, "handed over as a file descriptor (cpr-transfer)"],
    ]);
    const cut = await verify(main(), opening({ cpr: unpack("cpr.cpr").subarray(0, 60) }));
    expect(cut.report.findings.map(({ code }) => code)).toContain("qevm/channel/truncated");
  });

  it("--backing reads the memory from its file", () => {
    const [stream, ram, out] = ["cpr.qevm", "ram0", "cpr.raw"].map((name) => path.join(folder, name));
    fs.writeFileSync(stream ?? "", unpack("cpr.main"));
    const bytes = Buffer.alloc(8 << 20);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
    fs.writeFileSync(ram ?? "", bytes);
    const { status, stderr } = runCli([
      "extract",
      stream ?? "",
      out ?? "",
      "--range",
      "0-8M",
      "--backing",
      `m0=${ram}`,
    ]);
    expect(status, stderr).toBe(0);
    expect(Buffer.compare(fs.readFileSync(out ?? ""), bytes)).toBe(0);
    const wrong = runCli(["extract", stream ?? "", out ?? "", "--force", "--backing", `m1=${ram}`]);
    expect([wrong.status, wrong.stderr]).toEqual([
      1,
      expect.stringMatching(/there is no RAM block 'm1', only m0/),
    ]);
  });
});

describe.skipIf(skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd"))("--channel", () => {
  it.each(["multifd-none", "multifd-zstd"])("%s: exact memory from main channel and channels", (name) => {
    const from = (file: string): string =>
      unzstd(path.join(sharedData, "qemu11", name, `${file}.zst`), folder, { name: `${name}-${file}` });
    const main = from("stream.qevm");
    const reference = unzstd(path.join(sharedData, "qemu11", name, "ref.vmcore.patch.zst"), folder, {
      name: `${name}-ref`,
      patchFrom: main,
    });
    const channels = ["channel1", "channel2"].flatMap((file) => ["--channel", from(file)]);
    const [ours, theirs] = ["ours", "theirs"].map((file) => path.join(folder, `${name}-${file}.raw`));
    const range = ["--range", "0-8M"];
    const { status, stderr } = runCli(["extract", main, ours ?? "", ...range, ...channels]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(runCli(["extract", reference, theirs ?? "", ...range]).status).toBe(0);
    expect(fs.readFileSync(ours ?? "").equals(fs.readFileSync(theirs ?? ""))).toBe(true);
    expect(runCli(["verify", main, ...channels]).stdout).toMatch(/^valid$/m);
    const alone = runCli(["extract", main, ours ?? "", "--force"]);
    expect([alone.status, alone.stderr]).toEqual([
      1,
      expect.stringMatching(/multifd channels, which are not here/),
    ]);
    for (const file of fs.readdirSync(folder)) if (file.startsWith(name)) fs.rmSync(path.join(folder, file));
  });
});
