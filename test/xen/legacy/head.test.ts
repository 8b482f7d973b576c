import * as fs from "node:fs";
import * as path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { openGuest, verify, inspect } from "../../../src/open/open.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { openLegacyGuest } from "../../../src/xen/legacy/guest.js";
import { expectRescue, randoms } from "../../guest/damage-oracle.js";
import { rounds, runCli, scratch, STRIDE } from "../../shared.js";
import { damagedSource, expectHeadRescue, headParts, knownHead } from "./head-damage.js";
import { sample } from "./streams.js";

const place = scratch();
afterAll(place.cleanup);
const options = { partial: true, findKernel: false } as const;
const open = (bytes: Buffer): ReturnType<typeof openLegacyGuest> =>
  openLegacyGuest(damagedSource(bytes), options);
const KINDS = ["zeros", "ones", "noise"] as const;
const SMALL = ["hvm64-xsmall", "pv32-xsmall", "pv64-xsmall"];

describe.each(SMALL)("a damaged head of a legacy stream: %s", (name) => {
  it("gives all memory and vCPUs, whichever field is damaged", async () => {
    const small = sample(name, place.folder);
    const known = await knownHead(small, open);
    const parts = headParts(small, known.file);
    for (const [i, part] of parts.entries()) await expectHeadRescue(known, part, KINDS[i % 3] ?? "zeros");
  });

  it("gives no other memory, whatever is damaged", async () => {
    const { file } = await knownHead(sample(name, place.folder), open);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: file.first + 23 }),
        fc.integer({ min: 1, max: 4096 }),
        fc.constantFrom("zeros", "ones", "noise", "flip", "other pages"),
        fc.nat(),
        async (start, size, kind, seed) => {
          // the only batch is whole
          const length = kind === "flip" ? 1 : Math.min(size, file.first + 24 - start);
          await expectRescue(file, kind, start, length, randoms(seed));
        },
      ),
      { numRuns: rounds(80) },
    );
  });
});

describe("a legacy stream whose first bytes are damaged", () => {
  const { stream } = sample("hvm64-xsmall", place.folder);
  const first = 48 + stream.readUInt32LE(44) + 8;
  const damaged = Buffer.from(stream).fill(0xa5, 0, 48);

  it("is refused, with what reads it, without `partial`", async () => {
    await expect(openGuest(damagedSource(damaged))).rejects.toMatchObject({
      code: "open/damaged-head",
      remedy: { option: "partial" },
    });
    const { report } = await verify(damagedSource(damaged));
    expect(report.findings.map(({ code }) => code)).toEqual(["open/damaged-head"]);
  });

  it("is inspected with its guest, the damage and what is not known", async () => {
    const headless = Buffer.from(stream).fill(0, 0, first);
    const inspection = await inspect(damagedSource(headless));
    expect(inspection).toMatchObject({
      kind: "xen-legacy",
      guest: { type: "HVM" },
      details: { width: 64, guest: "hvm", p2mSize: undefined, layer: "libxl" },
    });
    expect(inspection.damage.length).toBeGreaterThan(0);
    expect(inspection.vcpus?.length).toBe(1);
  });

  it("is inspected as what it is where its flags are another format's", async () => {
    const flagged = Buffer.from(stream);
    flagged.writeUInt8(7, 36);
    const inspection = await inspect(damagedSource(flagged));
    expect(inspection).toMatchObject({ kind: "xen-legacy", guest: { name: "legacy-hvm64-xsmall" } });
    expect(inspection.damage.map(({ code }) => code)).toEqual(["legacy/xl-header"]);
  });

  it("says what is lost, and what of it the rest shows", async () => {
    const headless = Buffer.from(stream).fill(0, 0, first);
    const { rescue, facts } = await openGuest(damagedSource(headless), options);
    expect(rescue?.lost).toMatchObject([{ start: 0, end: first, what: "the stream's head" }]);
    expect(rescue?.head).toEqual([
      { fact: "width of the toolstack", value: "64 bits", from: "the entries of its batches" },
      { fact: "guest type", value: "HVM", from: "its tail" },
      { fact: "number of pfns", value: "20 or more", from: "the highest pfn of its pages" },
      { fact: "header before the stream" },
    ]);
    expect(facts).toMatchObject({ guestType: "HVM" });
    expect(facts.name).toBeUndefined();
  });

  it("keeps the configuration where that is whole, and converts with it", async () => {
    const { facts } = await openGuest(damagedSource(damaged), options);
    expect(facts.name).toBe("legacy-hvm64-xsmall");
    const [whole, rescued] = [new MemorySink(), new MemorySink()];
    await convertLegacy(damagedSource(stream), whole);
    const report = await convertLegacy(damagedSource(damaged), rescued, { partial: true });
    expect(Buffer.from(rescued.bytes()).equals(Buffer.from(whole.bytes()))).toBe(true);
    expect(report.losses[0]).toContain("(the stream's head)");
  });
});

describe("the number of pfns", () => {
  it.each(["hvm64-xsmall", "pv64-xsmall"])("is not believed where pages are beyond it: %s", async (name) => {
    const small = sample(name, place.folder);
    const { file } = await knownHead(small, open);
    const base = name.startsWith("hvm") ? 48 + small.stream.readUInt32LE(44) : 0;
    for (let bit = 0; bit < 64; bit += STRIDE) {
      const damaged = Buffer.from(small.stream);
      const at = base + (bit >> 3);
      damaged.writeUInt8((damaged[at] ?? 0) ^ (1 << (bit & 7)), at);
      const { memory, rescue } = await open(damaged);
      const page = Buffer.alloc(4096);
      for (const known of file.pages) {
        expect(await memory.read(known.gpa, page), `bit ${bit}`).toBe(4096);
        expect(page.equals(file.page(known))).toBe(true);
      }
      const stated = damaged.readUInt32LE(base);
      if (stated < small.meta.p2m_size || bit >= 28) expect(rescue?.lost[0]?.start).toBe(base);
    }
  });
});

describe("a PV guest's stream whose head is damaged", () => {
  const { stream, meta } = sample("pv64-xsmall", place.folder);

  it("converts as before where the list of p2m frames is whole", async () => {
    const damaged = Buffer.from(stream).fill(0xff, 0, 100);
    const [whole, rescued] = [new MemorySink(), new MemorySink()];
    await convertLegacy(damagedSource(stream), whole);
    const report = await convertLegacy(damagedSource(damaged), rescued, { partial: true });
    expect(Buffer.from(rescued.bytes()).equals(Buffer.from(whole.bytes()))).toBe(true);
    expect(report.input).toMatchObject({ width: 64, guest: "pv", guestWidth: 8, p2mSize: meta.p2m_size });
  });

  it("doesn't convert without that list, and its memory is read", async () => {
    const first = 16 + 4 + stream.readUInt32LE(16) + 8;
    const damaged = Buffer.from(stream).fill(0, first - 8, first);
    const sink = new MemorySink();
    await expect(convertLegacy(damagedSource(damaged), sink, { partial: true })).rejects.toMatchObject({
      code: "legacy/p2m-lost",
    });
    expect(sink.bytes().length).toBe(0);
    const { rescue } = await open(damaged);
    expect(rescue).toMatchObject({
      lost: [{ start: first - 8, end: first }],
      head: [{ fact: "list of p2m frames" }],
    });
  });
});

describe("guestscope, of a legacy stream whose head is damaged", () => {
  const { stream } = sample("pv64-xsmall", place.folder);
  const file = path.join(place.folder, "damaged.legacy");
  const damaged = Buffer.from(stream).fill(0xa5, 0, 20);

  it("verifies, maps, extracts and converts it", async () => {
    fs.writeFileSync(file, damaged);
    const { status, stdout } = runCli(["verify", "--map", file]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/legacy Xen migration stream whose first bytes are damaged/);
    expect(stdout).toMatch(/^ +0x0 +5216 +lost +the stream's head/m);
    expect(stdout).toMatch(/damaged head: the guest type is PV, by its tail/);
    expect(stdout).toMatch(/damaged head: the number of pfns is 160, by its pages/);

    const out = path.join(place.folder, "out.elf");
    expect(runCli(["extract", file, out]).status).not.toBe(0);
    const extracted = runCli(["extract", "--partial", "--json", file, out]);
    expect(extracted.status, extracted.stderr).toBe(0);
    const { rescue } = JSON.parse(extracted.stdout);
    expect(rescue.lost).toMatchObject([{ start: 0, end: 5216 }]);
    expect(rescue.head).toContainEqual({
      fact: "width of the toolstack",
      value: "64 bits",
      from: "the entries of its batches",
    });

    const converted = path.join(place.folder, "out.v3");
    const { status: ended, stderr } = runCli(["convert", "--partial", file, converted]);
    expect(ended, stderr).toBe(0);
    const whole = new MemorySink();
    await convertLegacy(damagedSource(stream), whole);
    expect(fs.readFileSync(converted).equals(Buffer.from(whole.bytes()))).toBe(true);
  });
});
