import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ehdr64, shdr64 } from "../../../src/elf/layout.js";
import { FormatError } from "../../../src/findings/errors.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { xenCore } from "../../../src/vmcore/xen-core/format.js";
import { xenCoreWriter } from "../../../src/vmcore/xen-core/write.js";
import { DAMAGE_KINDS, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { verifyAs } from "../../verify-as.js";
import { SparseMemorySink, syntheticGuest } from "../synthetic.js";
import { knownXenCore } from "./rescued-file.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const PAGE = 4096;

const real = (name: string): Buffer =>
  fs.readFileSync(unzstd(path.join(sharedData, "xen-v3", `${name}.core.zst`), folder));

/** A small core of our own writer. */
async function written(): Promise<Buffer> {
  const sink = new SparseMemorySink();
  const run = (first: number, count: number): { start: number; end: number; presence: "present" } => ({
    start: first * PAGE,
    end: (first + count) * PAGE,
    presence: "present",
  });
  const guest = syntheticGuest([run(0, 40), run(0x60, 30), run(0x100, 9)], {
    vcpus: [{ id: 0 }],
  });
  await xenCoreWriter.write(guest, sink, {});
  return Buffer.from(sink.bytes);
}

describe("a Xen core whose sections are damaged", () => {
  it("a bit of any byte of its headers and notes may be another", async () => {
    const file = await knownXenCore(await written());
    const next = randoms(7);
    for (let at = 0; at < 800; at += 5) await expectRescue(file, "flip", at, 1, next);
    for (let at = file.tableAt; at < file.bytes.length; at += 11)
      await expectRescue(file, "flip", at, 1, next);
  });

  it("is known by the rest of it, and refused unless what is intact is asked for", async () => {
    const bytes = await written();
    bytes.fill(0xff, 0, ehdr64.size + 4 * shdr64.size);
    await expect(openGuest(bytesSource(bytes))).rejects.toBeInstanceOf(FormatError);
    const guest = await openGuest(bytesSource(bytes), { partial: true });
    expect(guest.facts.origin).toBe("Xen core (xl dump-core)");
    expect([...guest.memory.ranges()].map(({ start, end }) => [start / PAGE, end / PAGE])).toEqual([
      [0, 40],
      [0x60, 0x7e],
      [0x100, 0x109],
    ]);
  });

  it("a head that lacks bytes shifts what its section headers say: all pages are doubtful", async () => {
    const bytes = (await written()).subarray(2 * shdr64.size);
    const { rescue } = await openGuest(bytesSource(bytes), { partial: true });
    expect(rescue?.doubtful).toMatchObject([
      { start: 0, why: expect.stringContaining("128 bytes are missing") },
    ]);
  });

  it("entries of its table that are lost are said, and those that can be only one thing are made anew", async () => {
    const bytes = await written();
    const { tableAt } = await knownXenCore(bytes);
    // within a run, and across a hole
    bytes.fill(0, tableAt + 10 * 8, tableAt + 15 * 8);
    bytes.fill(0, tableAt + 38 * 8, tableAt + 42 * 8);
    const guest = await openGuest(bytesSource(bytes), { partial: true });
    expect(guest.rescue?.lost).toMatchObject([
      { start: tableAt + 10 * 8, end: tableAt + 15 * 8, what: "frame numbers of pages, made anew" },
      { start: tableAt + 38 * 8, end: tableAt + 42 * 8, what: "frame numbers of pages" },
    ]);
    expect(guest.unplaced).toMatchObject([{ name: "pages 38 to 41", size: 4 * PAGE }]);
    const report = await verifyAs(xenCore, bytesSource(bytes));
    const codes = report.findings.map(({ code }) => code);
    expect(codes.filter((code) => code === "vmcore/xen-core/table")).toHaveLength(2);
  });

  it.each([777, -5000, 16, -40 * 8])(
    "%i bytes too many or too few before its table: all pages are doubtful",
    async (shift) => {
      const bytes = await written();
      const { tableAt, pages } = await knownXenCore(bytes);
      const at = tableAt - 9 * PAGE;
      const shifted = Buffer.concat([
        bytes.subarray(0, at),
        Buffer.alloc(Math.max(0, shift), 0x5a),
        bytes.subarray(at - Math.min(0, shift)),
      ]);
      const guest = await openGuest(bytesSource(shifted), { partial: true });
      // what the file ends before is absent
      const held = [...guest.memory.ranges()];
      const end = held.findLast(({ presence }) => presence !== "absent")?.end;
      const why = expect.stringContaining(`${Math.abs(shift)} bytes`);
      expect(guest.rescue?.doubtful).toEqual([{ start: 0, end, why }]);
      // each page has its own frame still
      expect(held.reduce((sum, range) => sum + (range.end - range.start) / PAGE, 0)).toBe(pages.length);
      const report = await verifyAs(xenCore, bytesSource(shifted));
      expect(report.findings.map(({ code }) => code)).toContain("vmcore/xen-core/shifted");
    },
  );
});

describe.skipIf(noData)("a real Xen core that is damaged", () => {
  it.each(["hvm64", "pv64"])(
    "%s gives what lies outside of the damage",
    { timeout: 60_000 },
    async (name) => {
      const bytes = real(name);
      const file = await knownXenCore(bytes);
      expect((await file.open(bytes)).rescue).toBeUndefined();
      for (const kind of DAMAGE_KINDS) {
        const next = randoms(kind.length);
        await expectRescue(file, kind, 16 + Math.floor(next() * 400), kind === "flip" ? 1 : 200, next);
        await expectRescue(
          file,
          kind,
          file.tableAt + Math.floor(next() * 20_000),
          kind === "flip" ? 1 : 4000,
          next,
        );
      }
    },
  );
});
