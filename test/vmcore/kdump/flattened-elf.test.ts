import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FormatError } from "../../../src/findings/errors.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { openVmcore } from "../../../src/vmcore/elf/read.js";
import { FlattenedSource } from "../../../src/vmcore/kdump/flattened.js";
import {
  DAMAGE_KINDS,
  type KnownFile,
  damageSize,
  expectRescue,
  randoms,
} from "../../guest/damage-oracle.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const PAGE = 4096;
/** Head of a record of the flattened form. */
const HEAD = 16;

/** The flattened ELF vmcore of the field data, every page known by its own undamaged records. */
async function known(): Promise<KnownFile & { readonly heads: readonly number[] }> {
  const bytes = fs.readFileSync(unzstd(path.join(sharedData, "field/elf-flattened.flat.zst"), folder));
  const source = await FlattenedSource.open(bytesSource(bytes));
  const { segments, elf } = await openVmcore(source);
  const heads: number[] = [];
  for (let at = 4096; at + HEAD < bytes.length; at += HEAD + Number(bytes.readBigUInt64BE(at + 8)))
    heads.push(at);
  const plain = Buffer.alloc(PAGE);
  const pages = [];
  const contents = new Map<number, Buffer>();
  for (const { index, physical, offset, there } of segments)
    for (let at = 0; at + PAGE <= there; at += PAGE) {
      const spans = [...source.inputSpans(offset + at, offset + at + PAGE)];
      const header = [
        ...source.inputSpans(elf.header.e_phoff + index * 56, elf.header.e_phoff + (index + 1) * 56),
      ];
      const headOf = (from: number): number => heads.findLast((head) => head < from) ?? 0;
      await source.read(offset + at, plain);
      contents.set(physical + at, Buffer.from(plain));
      pages.push({
        gpa: physical + at,
        size: PAGE,
        contents: spans.map(({ start, end }) => [start, end - start] as const),
        index: [
          ...spans.map(({ start }) => [headOf(start), HEAD] as const),
          ...header.map(({ start, end }) => [start, end - start] as const),
        ],
      });
    }
  return {
    bytes,
    heads,
    pages,
    page: ({ gpa }) => contents.get(gpa) ?? plain,
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true, findKernel: false }),
  };
}

describe.skipIf(noData)("a flattened ELF vmcore with damaged records", () => {
  it("gives what lies outside of the damage, and lost ranges as absent", { timeout: 120_000 }, async () => {
    const file = await known();
    expect((await file.open(file.bytes)).rescue).toBeUndefined();
    for (const kind of DAMAGE_KINDS) {
      const next = randoms(kind.length * 31);
      for (let round = 0; round < 3; round += 1) {
        const head = file.heads[1 + Math.floor(next() * (file.heads.length - 2))] ?? 0;
        const at =
          round === 0
            ? head + Math.floor(next() * HEAD)
            : 4096 + Math.floor(next() * (file.bytes.length - 2 ** 21));
        await expectRescue(file, kind, at, damageSize(kind, next), next);
      }
    }
  });

  it("is refused unless what is intact is asked for; lost memory is absent, not zero", async () => {
    const { bytes, heads } = await known();
    const at = heads[Math.floor(heads.length / 2)] ?? 0;
    const damaged = Buffer.from(bytes).fill(0x80, at, at + HEAD);
    await expect(openGuest(bytesSource(damaged))).rejects.toBeInstanceOf(FormatError);
    const guest = await openGuest(bytesSource(damaged), { partial: true });
    expect(guest.rescue?.lost).toMatchObject([{ start: at, what: "records of the flattened form" }]);
    const lost = [...guest.memory.ranges()].filter(({ presence }) => presence === "absent");
    expect(lost.map(({ reason }) => reason?.kind)).toEqual(["damaged"]);
    const size = Number(bytes.readBigUInt64BE(at + 8));
    expect(lost[0] === undefined ? 0 : lost[0].end - lost[0].start).toBeGreaterThanOrEqual(size);
  });

  it("what follows bytes that were inserted into a record is doubtful up to its end", async () => {
    const file = await known();
    const { bytes, heads } = file;
    const head = heads[Math.floor(heads.length / 2)] ?? 0;
    const [to, size] = [0, 8].map((at) => Number(bytes.readBigUInt64BE(head + at)));
    const at = head + HEAD + 5000;
    const longer = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(48, 0x5a), bytes.subarray(at)]);
    const { memory, rescue } = await file.open(longer);
    expect(rescue?.lost).toMatchObject([{ doubtfulFrom: head }]);
    const span = (rescue?.doubtful ?? []).reduce((sum, { start, end }) => sum + end - start, 0);
    expect(span).toBe(size);
    const page = Buffer.alloc(PAGE);
    for (const place of file.pages) {
      if (rescue?.doubtful.some(({ start, end }) => place.gpa < end && place.gpa + PAGE > start)) continue;
      expect(await memory.read(place.gpa, page)).toBe(PAGE);
      if (!page.equals(file.page(place))) throw new Error(`0x${place.gpa.toString(16)} of ${to} differs`);
    }
  });
});
