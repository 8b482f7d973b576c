import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import type { HeadFact } from "../../src/guest/head.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openGuest } from "../../src/open/open.js";
import { readPages, wrongPages } from "../qemu/migration/pages.js";
import { fixtures, runCli, scratch } from "../shared.js";

const place = scratch();
afterAll(place.cleanup);

const fixture = (...name: readonly string[]): Buffer =>
  zlib.gunzipSync(fs.readFileSync(path.join(fixtures, ...name)));

const qemu = fixture("qemu-migration", "tiny-compress.qevm.gz");
/** Where the list of RAM blocks is: after the head of the section `ram`, of 17 bytes, and the sum of lengths. */
const list = qemu.indexOf(Buffer.from([3, 0x72, 0x61, 0x6d, 0, 0, 0, 0, 0, 0, 0, 4])) - 5 + 25;
const flat = fixture("vmcore", "tiny-split.lzo.flat.gz");
/** Of the first record's contents, which are the plain dump's first bytes. */
const plainAt = 4096 + 16;

interface Case {
  readonly name: string;
  readonly bytes: Buffer;
  /** Bytes that are damaged. */
  readonly damage: readonly (readonly [start: number, end: number])[];
  readonly code: string;
  readonly head: readonly HeadFact[];
}

const cases: readonly Case[] = [
  {
    name: "QEMU stream: its magic, and the first name of the list of RAM blocks",
    bytes: qemu,
    damage: [
      [0, 8],
      [list + 1, list + 3],
    ],
    code: "open/damaged-head",
    head: [{ fact: "name of a RAM block", value: "pc.ram", from: "its first record" }],
  },
  {
    name: "QEMU stream: a length in the list of RAM blocks",
    bytes: qemu,
    damage: [[list + 7, list + 15]],
    code: "qevm/",
    head: [{ fact: "size of RAM block 'pc.ram'", value: "8388608 bytes", from: "the sum of all blocks" }],
  },
  {
    name: "flattened kdump: its signature",
    bytes: flat,
    damage: [[0, 32]],
    code: "open/damaged-head",
    head: [],
  },
  {
    name: "kdump: the signature of the dump in a flattened one",
    bytes: flat,
    damage: [[plainAt, plainAt + 8]],
    code: "kdump/",
    head: [],
  },
];

const pagesOf = async (file: string): Promise<ReadonlyMap<number, Buffer>> =>
  readPages(await openGuest(bytesSource(fs.readFileSync(file))));

describe("a damaged head", () => {
  it.each(cases)("of a $name", { timeout: 120_000 }, async ({ bytes, damage, code, head }) => {
    const [whole, damaged] = ["whole", "damaged"].map((name) => path.join(place.folder, name));
    if (whole === undefined || damaged === undefined) throw new Error("no names");
    const copy = Buffer.from(bytes);
    for (const [start, end] of damage) copy.fill(0xa5, start, end);
    fs.writeFileSync(whole, bytes);
    fs.writeFileSync(damaged, copy);

    const verified = runCli(["verify", "--json", damaged]);
    expect(verified.status).toBe(1);
    const codes = JSON.parse(verified.stdout).inputs[0].findings.map((found: { code: string }) => found.code);
    expect(codes.join(" ")).toContain(code);

    const mapped = runCli(["verify", "--map", "--json", damaged]);
    expect(mapped.status).toBe(1);
    const { map } = JSON.parse(mapped.stdout).inputs[0];
    const lost = map.parts.filter(({ state }: { state: string }) => state === "lost");
    for (const [start, end] of damage)
      expect(
        lost.some(
          (part: { offset: number; length: number }) =>
            part.offset <= start && part.offset + part.length >= end,
        ),
      ).toBe(true);
    expect(map.head ?? []).toEqual(head);
    const text = runCli(["verify", "--map", damaged]);
    for (const { fact, value = "" } of head) expect(text.stdout).toContain(`the ${fact} is ${value}`);

    const out = path.join(place.folder, "out.elf");
    expect(runCli(["extract", damaged, out, "--force"])).toMatchObject({ status: 1 });
    expect(fs.existsSync(out)).toBe(false);
    const rescued = runCli(["extract", "--partial", "--json", "--force", damaged, out]);
    expect(rescued.status).toBe(0);
    const document = JSON.parse(rescued.stdout);
    expect(document.rescue.head ?? []).toEqual(head);
    expect(document.absent).toBe(0);
    const reference = path.join(place.folder, "reference.elf");
    expect(runCli(["extract", whole, reference, "--force"]).status).toBe(0);
    const [found, pages] = [await pagesOf(out), await pagesOf(reference)];
    expect(found.size).toBe(pages.size);
    expect(wrongPages(found, pages)).toEqual([]);
    fs.rmSync(out);
  });

  it("of which nothing is left is refused with and without --partial, and all of it is lost", () => {
    const file = path.join(place.folder, "noise");
    fs.writeFileSync(file, Buffer.from(Array.from({ length: 1 << 16 }, (_, i) => (i * 2654435761) >>> 24)));
    const out = path.join(place.folder, "none.elf");
    for (const more of [[], ["--partial"]]) expect(runCli(["extract", ...more, file, out]).status).toBe(1);
    expect(fs.existsSync(out)).toBe(false);
    const { stdout, status } = runCli(["verify", "--map", "--json", file]);
    expect(status).toBe(1);
    expect(JSON.parse(stdout).inputs[0].map.parts).toMatchObject([
      { offset: 0, length: 1 << 16, state: "lost", proof: 0 },
    ]);
  });
});
