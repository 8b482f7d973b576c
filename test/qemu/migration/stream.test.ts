import { verifyAs } from "../../verify-as.js";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { memoryTotals } from "../../../src/guest/memory.js";
import { type ByteSource, bytesSource, streamOf } from "../../../src/io/byte-source.js";
import { MemorySpool } from "../../../src/io/spool.js";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { qemuMigration } from "../../../src/qemu/migration/format.js";
import { inspectStream } from "../../../src/qemu/migration/inspect.js";
import { FLAG } from "../../../src/qemu/migration/layout.js";
import { readStream } from "../../../src/qemu/migration/read.js";
import { applyDelta, checkDelta } from "../../../src/qemu/migration/ram/xbzrle.js";
import { collect, encodeDelta, number, pcDevices, type QevmWriter } from "./qevm-writer.js";
import { rounds, STRIDE } from "../../shared.js";

const PAGE = 4096;
const filled = (byte: number): Uint8Array => new Uint8Array(PAGE).fill(byte);
const MIB = 1 << 20;

async function codes(bytes: Uint8Array, pipe = false): Promise<string[]> {
  const report = new Report("stream");
  const source = bytesSource(bytes);
  await verifyAs(qemuMigration, pipe ? streamOf(source) : source, report);
  return report.findings.map(({ code }) => code);
}

function open(
  bytes: Uint8Array,
  options: { partial?: boolean; source?: ByteSource } = {},
): Promise<GuestImage> {
  const { partial = false, source = bytesSource(bytes) } = options;
  return qemuMigration.reader.openGuest(source, { partial });
}

/** A machine of 1 MiB below and 1 MiB above 4 GiB, 512 pages, with whatever records. */
const machine = (
  records: (writer: QevmWriter) => void,
  last: (writer: QevmWriter) => void = () => undefined,
  footers = true,
): Buffer =>
  collect((writer) => {
    writer
      .header()
      .configuration("pc-i440fx-10.0")
      .startRam([{ name: "pc.ram", length: 2 * MIB }])
      .ram(false, () => records(writer))
      .ram(true, () => last(writer));
    pcDevices(writer, MIB, MIB);
    writer.end();
  }, footers);

const allZero = (writer: QevmWriter): void => {
  for (let at = 0; at < 2 * MIB; at += PAGE) writer.zero("pc.ram", at);
};

/** A small stream with every kind of record, for damage. */
const small = collect((writer) => {
  writer
    .header()
    .configuration("pc-i440fx-10.0", ["x-something"])
    .startRam([{ name: "pc.ram", length: 3 * PAGE }])
    .ram(false, () => {
      writer.plain("pc.ram", 0, filled(7));
      writer.zero("pc.ram", PAGE);
      writer.compressed("pc.ram", 2 * PAGE, filled(9));
    })
    .ram(true, () => writer.delta("pc.ram", 0, Uint8Array.of(5, 2, 1, 1)));
  writer.device("widget", [number("a", 4, 5), number("b", 8, 6)]).device("gadget", [number("c", 1, 1)]);
  writer.end();
});

describe("records", () => {
  it("the last copy of a page counts, whatever it was before", async () => {
    const history = fc.array(
      fc.record({
        page: fc.nat(40),
        sort: fc.constantFrom("plain", "zero", "compressed", "delta", "fill"),
        seed: fc.nat(250),
      }),
      { maxLength: 120 },
    );
    await fc.assert(
      fc.asyncProperty(history, fc.boolean(), async (changes, footers) => {
        const now = new Map<number, Uint8Array>();
        const bytes = machine(
          (writer) => {
            allZero(writer);
            for (const { page, sort, seed } of changes) {
              const before = now.get(page) ?? filled(0);
              const after = sort === "zero" ? filled(0) : sort === "fill" ? filled(seed + 1) : before.slice();
              if (sort !== "zero" && sort !== "fill")
                for (let i = 0; i < seed; i += 1) after[(i * i * 31 + seed) % PAGE] = (seed + i) & 0xff;
              const at = page * PAGE;
              if (sort === "zero") writer.zero("pc.ram", at);
              else if (sort === "fill") writer.zero("pc.ram", at, seed + 1);
              else if (sort === "plain") writer.plain("pc.ram", at, after);
              else if (sort === "compressed") writer.compressed("pc.ram", at, after);
              else writer.delta("pc.ram", at, encodeDelta(before, after));
              now.set(page, after);
            }
          },
          undefined,
          footers,
        );
        const guest = await open(bytes);
        const page = new Uint8Array(PAGE);
        for (const [number, expected] of now) {
          expect(await guest.memory.read(number * PAGE, page)).toBe(PAGE);
          expect(Buffer.compare(page, expected)).toBe(0);
        }
        for await (const { gpa, length, bytes: content } of guest.memory.pieces())
          for (let at = 0; at < length; at += PAGE) {
            const expected = now.get((gpa + at) / PAGE) ?? filled(0);
            expect(Buffer.compare(content?.subarray(at, at + PAGE) ?? filled(0), expected)).toBe(0);
          }
        expect((await codes(bytes)).filter((code) => code !== "qevm/ram/fill-octet")).toEqual([]);
      }),
      { numRuns: rounds(25) },
    );
  });

  it("differences: what is encoded is decoded, and no input makes a page longer", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        (before, after) => {
          const difference = encodeDelta(before, after);
          expect(checkDelta(difference, 0, difference.length, 64)).toBeUndefined();
          const page = before.slice();
          applyDelta(page, difference, 0, difference.length);
          expect([...page]).toEqual([...after]);
        },
      ),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (junk) => {
        if (checkDelta(junk, 0, junk.length, 64) !== undefined) return;
        const page = new Uint8Array(64);
        applyDelta(page, junk, 0, junk.length);
        expect(page.length).toBe(64);
      }),
      { numRuns: rounds(500) },
    );
    expect(checkDelta(Uint8Array.of(60, 5, 1, 1, 1, 1, 1), 0, 7, 64)).toMatch(/runs to byte 65/);
    expect(checkDelta(Uint8Array.of(0, 5, 1), 0, 3, 64)).toMatch(/lacks 4/);
    expect(checkDelta(Uint8Array.of(0x80, 0x80, 1), 0, 3, 64)).toMatch(/more than two bytes/);
    expect(checkDelta(Uint8Array.of(3), 0, 1, 64)).toMatch(/without the count/);
  });

  it("many differences are settled into the spool", async () => {
    const pages = 8;
    const bytes = machine((writer) => {
      allZero(writer);
      for (let i = 0; i < 500; i += 1)
        writer.delta("pc.ram", (i % pages) * PAGE, Uint8Array.of(i % 100, 1, i & 0xff));
    });
    const spool = new MemorySpool();
    const source = bytesSource(bytes);
    const stream = await readStream(source, new Report("stream"), { forReading: true, spool: () => spool });
    const index = stream.ram?.index;
    expect(index?.deltas).toBe(500);
    await index?.settle();
    expect(index?.deltas).toBe(0);
    expect(spool.size).toBe(pages * PAGE);
    const page = new Uint8Array(PAGE);
    for (let n = 0; n < pages; n += 1) {
      const expected = new Uint8Array(PAGE);
      for (let i = n; i < 500; i += pages) expected[i % 100] = i & 0xff;
      await index?.map.read(n * PAGE, page);
      expect(Buffer.compare(page, expected)).toBe(0);
    }
  });

  it("memory at 4 GiB is the rest of the block", async () => {
    const guest = await open(
      machine((writer) => {
        allZero(writer);
        writer.plain("pc.ram", MIB, filled(0x42));
      }),
    );
    const page = new Uint8Array(PAGE);
    expect(await guest.memory.read(2 ** 32, page)).toBe(PAGE);
    expect(page[5]).toBe(0x42);
    expect(await guest.memory.read(MIB, page)).toBe(0);
    expect(memoryTotals(guest.memory)).toEqual({ present: PAGE, zero: 2 * MIB - PAGE, absent: 0 });
  });

  it("a page never sent is absent", async () => {
    const bytes = machine((writer) => writer.plain("pc.ram", 0, filled(1)));
    expect(await codes(bytes)).toEqual(["qevm/ram/missing-pages"]);
    const guest = await open(bytes);
    expect(memoryTotals(guest.memory).absent).toBe(2 * MIB - PAGE);
  });

  it("two backends of one size: asked, not guessed", async () => {
    const bytes = collect((writer) => {
      const blocks = ["m0", "m1"].map((name) => ({ name, length: MIB }));
      writer.header().configuration("pc-i440fx-10.0").startRam(blocks);
      writer.ram(true, () => {
        for (const { name } of blocks) for (let at = 0; at < MIB; at += PAGE) writer.zero(name, at);
      });
      pcDevices(writer, 2 * MIB, 0);
      writer.end();
    });
    await expect(open(bytes)).rejects.toMatchObject({
      message: expect.stringContaining("order of the memory backends is not in the stream"),
      remedy: { option: "map", value: "m0@ADDRESS" },
    });
  });

  it("device state alone is inspected", async () => {
    const bytes = collect((writer) => {
      writer
        .header()
        .configuration("xenfv")
        .device("widget", [number("a", 4, 5)]);
      writer.end();
    });
    const found = await inspectStream(bytesSource(bytes));
    expect(found.damage).toEqual([]);
    expect(found.details.devices).toMatchObject([{ section: "widget", fields: [{ name: "a", value: 5 }] }]);
    const bare = await inspectStream(bytesSource(bytes.subarray(0, bytes.indexOf('{"page_size"') - 5)));
    expect(bare.details.sections).toMatchObject([{ name: "widget", size: 4 }]);
    expect(bare.damage).toEqual([]);
  });
});

describe("damage", () => {
  it("the small stream is good", async () => {
    expect(await codes(small)).toEqual([]);
    expect(await codes(small, true)).toEqual([]);
    expect(await codes(machine(allZero))).toEqual([]);
    expect(await codes(machine(allZero, undefined, false))).toEqual([]);
  });

  it("every prefix is found out; extraction refuses it", async () => {
    const json = small.indexOf('{"page_size"') - 5;
    for (let length = 0; length < small.length; length += length > 300 && length < 4000 ? 97 : 1) {
      const cut = small.subarray(0, length);
      const found = await codes(cut);
      const found2 = await codes(cut, true);
      // a stream may end behind its end mark: nothing but the description is missing then
      if (length === json) expect(found).toEqual(["qevm/vmdesc/absent"]);
      else {
        expect(found.length).toBeGreaterThan(0);
        expect(found[0]).not.toBe("qevm/vmdesc/absent");
        await expect(open(cut)).rejects.toBeInstanceOf(GuestscopeError);
      }
      expect(found2.length > 0).toBe(true);
    }
  });

  it("every byte flipped ends in findings, an error of ours, or another good stream", async () => {
    const interesting = [...Array(small.length).keys()].filter(
      (at) => at % STRIDE === 0 && (small[at] !== 7 || at < 120),
    );
    for (const at of interesting)
      for (const mask of [0x01, 0x80, 0xff]) {
        const flipped = Buffer.from(small);
        flipped[at] = (flipped[at] ?? 0) ^ mask;
        const found = await codes(flipped, mask === 0x80);
        expect(Array.isArray(found)).toBe(true);
        const guest = await open(flipped, { partial: true }).catch((error: unknown) => {
          if (!(error instanceof GuestscopeError)) throw error;
          return undefined;
        });
        if (guest !== undefined)
          for await (const piece of guest.memory.pieces()) expect(piece.length).toBeGreaterThan(0);
      }
  });

  it.each<[string, (writer: QevmWriter) => void]>([
    ["qevm/ram/page-outside-block", (w) => w.plain("pc.ram", 2 * MIB, filled(1))],
    ["qevm/ram/page-outside-block", (w) => w.record(2 ** 52, FLAG.page | FLAG.continue, filled(1))],
    ["qevm/ram/unknown-block", (w) => w.plain("pc.moon", 0, filled(1))],
    [
      "qevm/ram/xbzrle-delta",
      (w) => w.delta("pc.ram", 0, Uint8Array.of(0xff, 0x1f, 9, ...filled(1).subarray(0, 9))),
    ],
    ["qevm/ram/xbzrle-delta", (w) => w.record(0, FLAG.xbzrle | FLAG.continue, Uint8Array.of(1, 0xff, 0xff))],
    ["qevm/ram/xbzrle-delta", (w) => w.record(0, FLAG.xbzrle | FLAG.continue, Uint8Array.of(2, 0, 0))],
    [
      "qevm/ram/compressed-length",
      (w) => w.record(0, FLAG.compress | FLAG.continue, Uint8Array.of(0xff, 0, 0, 0)),
    ],
    [
      "qevm/ram/compressed-data",
      (w) => w.record(0, FLAG.compress | FLAG.continue, Uint8Array.of(0, 0, 0, 3, 1, 2, 3)),
    ],
    ["qevm/ram/compressed-data", (w) => w.compressed("pc.ram", 0, new Uint8Array(100))],
    ["qevm/ram/flags", (w) => w.record(0, 0x400)],
    ["qevm/ram/flags", (w) => w.record(0, FLAG.page | FLAG.zero, filled(1))],
    ["qevm/ram/flags", (w) => w.record(0, 0)],
    ["qevm/ram/unsupported", (w) => w.record(0, FLAG.hook)],
    ["qevm/ram/block-list", (w) => w.record(PAGE, FLAG.memSize)],
    ["qevm/ram/fill-octet", (w) => w.zero("pc.ram", 0, 5)],
  ])("%s", async (code, write) => {
    const bytes = machine((writer) => {
      allZero(writer);
      write(writer);
    });
    const found = await codes(bytes);
    expect(found).toContain(code);
    expect(await codes(bytes, true)).toEqual(found);
    if (code === "qevm/ram/fill-octet") return;
    await expect(open(bytes)).rejects.toMatchObject({ code });
    const partial = await open(bytes, { partial: true });
    const { present, zero, absent } = memoryTotals(partial.memory);
    expect(present + zero + absent).toBe(2 * MIB);
  });

  it("a difference to a page never sent", async () => {
    const bytes = machine((writer) => writer.delta("pc.ram", 0, Uint8Array.of(0, 1, 1)));
    expect(await codes(bytes)).toContain("qevm/ram/xbzrle-no-base");
  });

  it("block lists that lie", async () => {
    const list = (blocks: { name: string; length: number }[]): Buffer =>
      collect((writer) => {
        writer.header().configuration("pc").startRam(blocks);
        writer.end();
      });
    expect(await codes(list(["a", "b"].map((name) => ({ name, length: PAGE / 2 }))))).toContain(
      "qevm/ram/block-list",
    );
    expect(
      await codes(
        list([
          { name: "a", length: 2 ** 52 },
          { name: "b", length: 2 ** 52 },
        ]),
      ),
    ).toContain("qevm/ram/block-list");
    expect(
      await codes(
        list([
          { name: "a", length: PAGE },
          { name: "a", length: PAGE },
        ]),
      ),
    ).toContain("qevm/ram/block-list");
    // a huge block costs nothing but its missing pages
    expect(await codes(list([{ name: "a", length: 2 ** 51 }]))).toEqual([
      "qevm/section/not-ended",
      "qevm/ram/missing-pages",
    ]);
  });

  const described = (
    change: (json: { page_size: number; devices: Record<string, unknown>[] }) => unknown,
  ): Buffer =>
    collect((writer) => {
      writer
        .header()
        .configuration("pc-i440fx-10.0")
        .startRam([{ name: "pc.ram", length: PAGE }]);
      writer.ram(true, () => writer.zero("pc.ram", 0));
      writer.device("widget", [number("a", 4, 5)]).device("gadget", [number("c", 1, 1)]);
      const json = JSON.parse(writer.description().toString()) as Parameters<typeof change>[0];
      const result = change(json);
      writer.end(typeof result === "string" ? Buffer.from(result) : Buffer.from(JSON.stringify(json)));
    });

  it.each<[string, Parameters<typeof described>[0], string[]]>([
    ["unchanged", () => undefined, []],
    ["no JSON", () => "{nothing", ["qevm/vmdesc/malformed"]],
    ["a list", () => "[]", ["qevm/vmdesc/malformed"]],
    [
      "a length that is none",
      (json) => (json.devices[0] = { ...json.devices[0], fields: [{ name: "a", type: "x", size: -1 }] }),
      ["qevm/vmdesc/malformed"],
    ],
    [
      "another length",
      (json) => (json.devices[0] = { ...json.devices[0], fields: [{ name: "a", type: "uint32", size: 9 }] }),
      ["qevm/vmdesc/contradicts-sections"],
    ],
    [
      "an endless length",
      (json) =>
        (json.devices[0] = {
          ...json.devices[0],
          fields: [{ name: "a", type: "uint32", size: 2 ** 40, array_len: 2 ** 11 }],
        }),
      ["qevm/vmdesc/contradicts-sections"],
    ],
    [
      "endless elements of nothing",
      (json) =>
        (json.devices[0] = {
          ...json.devices[0],
          fields: [
            { name: "z", type: "uint8", size: 0, array_len: 2 ** 40 },
            { name: "a", type: "uint32", size: 4 },
          ],
        }),
      [],
    ],
    [
      "another version",
      (json) => (json.devices[0] = { ...json.devices[0], version: 9 }),
      ["qevm/vmdesc/contradicts-sections"],
    ],
    [
      "a device too many",
      (json) => json.devices.push({ name: "ghost", instance_id: 0, version: 1 }),
      ["qevm/vmdesc/contradicts-sections"],
    ],
    ["a device too few", (json) => json.devices.pop(), ["qevm/section/found-by-footer"]],
    [
      "a subsection that isn't there",
      (json) =>
        (json.devices[0] = {
          ...json.devices[0],
          fields: [],
          subsections: [{ vmsd_name: "", version: 0, fields: [] }],
        }),
      ["qevm/vmdesc/contradicts-sections"],
    ],
    ["an old-style device tells no version", (json) => delete json.devices[0]?.["version"], []],
    ["another page size", (json) => (json.page_size = 4096 + 1), ["qevm/vmdesc/contradicts-sections"]],
  ])("description: %s", async (_name, change, expected) => {
    const bytes = described(change);
    const found = await codes(bytes);
    for (const code of expected) expect(found).toContain(code);
    if (expected.length === 0) expect(found).toEqual([]);
    expect((await codes(bytes, true)).length > 0).toBe(expected.length > 0);
  });

  it("junk never ends in anything but findings", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (junk, pipe) => {
        const bytes = Buffer.concat([small.subarray(0, 8), junk]);
        expect((await codes(bytes, pipe)).length).toBeGreaterThan(0);
      }),
      { numRuns: rounds(300) },
    );
  });
});
