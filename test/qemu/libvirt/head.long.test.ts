import * as fs from "node:fs";
import * as path from "node:path";
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { inspect, openGuest, verify } from "../../../src/open/open.js";
import { DAMAGE_KINDS, damage, damageSize, randoms } from "../../guest/damage-oracle.js";
import { hasProgram, rounds, scratch, skipUnless, unzstd } from "../../shared.js";
import { readPages, wrongPages } from "../migration/pages.js";
import { noSamples, saves } from "../migration/samples.js";

const place = scratch();
afterAll(place.cleanup);
beforeAll(installNodeCodecs);

const options = { partial: true, findKernel: false } as const;
const HEADER = 92;

const read = (name: string): Buffer => fs.readFileSync(unzstd(path.join(saves, `${name}.zst`), place.folder));

/** Where the parts of a save are. */
function partsOf(bytes: Buffer): { xml: number; cookie: number; stream: number } {
  return {
    xml: HEADER,
    cookie: HEADER + bytes.readUInt32LE(32),
    stream: HEADER + bytes.readUInt32LE(20),
  };
}

type Range = readonly [number, number];
const DAMAGES: readonly [string, (parts: ReturnType<typeof partsOf>) => Range][] = [
  ["the first bytes", () => [0, 4]],
  ["the mark", () => [0, 16]],
  ["the version", () => [16, 20]],
  ["the length of the data", () => [20, 24]],
  ["the compression", () => [28, 32]],
  ["the place of the cookie", () => [32, 36]],
  ["all of the header", () => [0, HEADER]],
  ["the header and the start of the XML", ({ xml }) => [0, xml + 300]],
  ["the start of the XML", ({ xml }) => [xml, xml + 60]],
  ["the middle of the XML", ({ xml }) => [xml + 400, xml + 800]],
  ["the end of the XML, and the cookie", ({ cookie }) => [cookie - 100, cookie + 100]],
  ["all but the mark", ({ cookie }) => [16, cookie + 400]],
  ["all of the XML", ({ cookie }) => [HEADER, cookie + 400]],
];

describe.skipIf(noSamples)("a libvirt save whose head is damaged", () => {
  it.each(
    ["raw.save", "gzip.save", "zstd-made.save"].flatMap((name) =>
      DAMAGES.map(([what, of]) => [name, what, of] as const),
    ),
  )("%s: %s", async (name, _, rangeOf) => {
    const bytes = read(name);
    const [start, end] = rangeOf(partsOf(bytes));
    const whole = await openGuest(bytesSource(bytes, "whole"), options);
    expect(whole.rescue).toBeUndefined();
    const pages = await readPages(whole);
    for (const fill of [0, 0xff, 0xa5]) {
      const damaged = Buffer.from(bytes).fill(fill, start, end);
      if (damaged.equals(bytes)) continue;
      const guest = await openGuest(bytesSource(damaged, "damaged"), options);
      expect(guest.facts.origin).toBe(whole.facts.origin);
      const found = await readPages(guest);
      expect(wrongPages(found, pages)).toEqual([]);
      expect(found.size).toBe(pages.size);
      expect(guest.vcpus.length).toBe(2);
      expect(guest.facts.guestType).toBe("pc-i440fx-10.0");
      const { lost = [], head = [] } = guest.rescue ?? {};
      // what is damaged may happen to be what it was
      expect(lost[0]?.start).toBeGreaterThanOrEqual(start - 16);
      expect(lost[0]?.start).toBeLessThan(end);
      expect(lost.at(-1)?.end).toBeGreaterThan(start);
      expect(head.length).toBeGreaterThan(0);
      for (const { fact, value } of head)
        if (fact === "domain's name") expect([undefined, "tiny-lv"]).toContain(value);
      const inspection = await inspect(bytesSource(damaged, "damaged"));
      expect(inspection.damage.map(({ code }) => code)).toContain("libvirt-save/damaged-head");
      const { report } = await verify(bytesSource(damaged, "damaged"));
      expect(report.valid).toBe(false);
      if (start === 0) expect(report.findings.map(({ code }) => code)).toEqual(["open/damaged-head"]);
      await guest.close?.();
    }
  });

  it.each(["raw.save", "gzip.save", "zstd-made.save"])("%s: any damage before the stream", async (name) => {
    const bytes = read(name);
    const { stream } = partsOf(bytes);
    const whole = await openGuest(bytesSource(bytes, "whole"), options);
    const pages = await readPages(whole);
    const next = randoms(name.length);
    for (let round = 0; round < rounds(40); round += 1) {
      const kind = DAMAGE_KINDS[round % DAMAGE_KINDS.length] ?? "zeros";
      // most of what is before the stream is room
      const start = Math.floor(next() * (round % 3 === 0 ? stream : 2500));
      const end = Math.min(start + damageSize(kind, next), stream);
      const where = `${kind} from ${start} to ${end}`;
      const guest = await openGuest(bytesSource(damage(bytes, kind, start, end, next), "damaged"), options);
      const found = await readPages(guest);
      expect(wrongPages(found, pages), where).toEqual([]);
      expect(found.size, where).toBe(pages.size);
      for (const { start: from, end: to } of guest.rescue?.lost ?? []) expect(from, where).toBeLessThan(to);
      await guest.close?.();
    }
  });

  it("is a QEMU stream, with a lost part before it, where all of the head is lost", async () => {
    const bytes = read("raw.save");
    const { stream } = partsOf(bytes);
    const pages = await readPages(await openGuest(bytesSource(bytes, "whole"), options));
    for (const fill of [0, 0xff, 0xa5]) {
      const damaged = Buffer.from(bytes).fill(fill, 0, stream);
      const guest = await openGuest(bytesSource(damaged, "damaged"), options);
      expect(guest.facts.origin).toBe("QEMU migration stream");
      expect(guest.rescue?.lost).toMatchObject([{ start: 0, end: stream }]);
      expect(wrongPages(await readPages(guest), pages)).toEqual([]);
    }
  });

  it("is no other format's", async () => {
    const xml = "<domain type='xen' id='1'>\n  <name>other</name>\n</domain>\n\0";
    const bytes = read("raw.save");
    const other = Buffer.concat([
      Buffer.alloc(HEADER, 0x55),
      Buffer.from(xml),
      bytes.subarray(partsOf(bytes).stream),
    ]);
    const guest = await openGuest(bytesSource(other, "other"), options);
    expect(guest.facts.origin).toBe("QEMU migration stream");
  });
});

/** Packed in parts that unpack by themselves. */
const PACKED = [
  ["bzip2", 2, ["-1", "-c"]],
  ["xz", 3, ["-0", "-c", "--block-size=262144", "-T2"]],
  ["lzop", 4, ["-c"]],
] as const;

describe.skipIf(noSamples).each(PACKED)(
  "a save with a stream that %s packed, damaged",
  (program, code, how) => {
    const isMissing = skipUnless(hasProgram(program), program);

    it.skipIf(isMissing)("is read on after the damage", async () => {
      const raw = read("raw.save");
      const { stream } = partsOf(raw);
      const packed = execFileSync(program, how, { input: raw.subarray(stream), maxBuffer: 1 << 28 });
      const bytes = Buffer.concat([raw.subarray(0, stream), packed]);
      bytes.writeUInt32LE(code, 28);
      const pages = await readPages(await openGuest(bytesSource(raw, "raw"), options));
      const whole = await openGuest(bytesSource(bytes, "whole"), options);
      expect((await readPages(whole)).size).toBe(pages.size);
      expect(whole.rescue).toBeUndefined();
      const next = randoms(code);
      for (let round = 0; round < rounds(4); round += 1) {
        const size = Math.ceil(2 ** (3 + next() * 8));
        const start = stream + Math.floor(packed.length * 0.2 + next() * (packed.length * 0.6 - size));
        const damaged = damage(bytes, DAMAGE_KINDS[round % 3] ?? "zeros", start, start + size, next);
        const where = `${round}: ${start} to ${start + size}`;
        const guest = await openGuest(bytesSource(damaged, "damaged"), options);
        const found = await readPages(guest);
        expect(wrongPages(found, pages), where).toEqual([]);
        // after an unknown number of lost bytes records are left out until one names its block
        const isMeasured =
          guest.rescue?.lost.every(({ what = "" }) => !what.includes("unknown number")) === true;
        expect(found.size, where).toBeGreaterThan(isMeasured ? pages.size * 0.8 : 0);
        expect(guest.vcpus.length, where).toBe(2);
        const { lost = [] } = guest.rescue ?? {};
        expect(lost.length, where).toBeGreaterThan(0);
        expect(lost[0]?.start, where).toBeLessThanOrEqual(start);
        expect(lost.at(-1)?.end, where).toBeGreaterThanOrEqual(start);
        expect(lost.at(-1)?.end, where).toBeLessThanOrEqual(bytes.length);
        const { report } = await verify(bytesSource(damaged, "damaged"));
        expect(report.findings.map((finding) => finding.code)).toContain("libvirt-save/compressed-data");
        await guest.close?.();
      }
    });
  },
);
