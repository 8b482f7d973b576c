import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { Hit } from "../../src/guest/search.js";
import { HitBatch } from "../../src/cli/hit-batch.js";
import { validDocument } from "../document-schema.js";
import { fixtures, projectRoot, runCli, scratch } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Row {
  readonly address: string;
  readonly length: number;
  readonly kind: string;
}
interface Found {
  readonly count: number;
  readonly hits?: readonly Row[];
  readonly error?: { readonly code: string; readonly status: number };
}

const EVERY = 64;
const SIZE = 2 << 20;
const NEEDLE = "needle";
/** Raw memory with a needle every 64 bytes, every other one of two-byte characters. */
const memory = Buffer.alloc(SIZE, 0xee);
for (let at = 0; at < SIZE; at += EVERY)
  memory.write(NEEDLE, at + 20, at % (2 * EVERY) === 0 ? "latin1" : "utf16le");
const raw = path.join(folder, "memory.raw");
fs.writeFileSync(raw, memory);
const RAW = ["--format", "raw", "--base", "0"];

const search = (...args: readonly string[]): { status: number | null; found: Found } => {
  const { status, stdout } = runCli(["search", "--json", ...args]);
  validDocument(stdout, args.join(" "));
  return { status, found: JSON.parse(stdout) as Found };
};

describe("search --json", () => {
  it("lists every hit by ascending address, patterns mixed, with and without a look for owners", () => {
    const expected = Array.from({ length: SIZE / EVERY }, (_, i) => ({
      address: `0x${(i * EVERY + 20).toString(16)}`,
      length: NEEDLE.length * (i % 2 === 0 ? 1 : 2),
      kind: i % 2 === 0 ? "utf-8" : "utf-16le",
    }));
    for (const owner of [[], ["--no-owner"]]) {
      const { status, found } = search(raw, NEEDLE, ...RAW, ...owner);
      expect(status).toBe(0);
      expect(found.count).toBe(expected.length);
      expect(found.hits?.map(({ address, length, kind }) => ({ address, length, kind }))).toEqual(expected);
    }
  });

  it("has an empty list where nothing is found, a count alone with --count, and ends after --max", () => {
    expect(search(raw, "haystack", ...RAW)).toMatchObject({ status: 1, found: { count: 0, hits: [] } });
    const { status, found } = search(raw, NEEDLE, ...RAW, "--count");
    expect({ status, count: found.count, hits: found.hits }).toEqual({
      status: 0,
      count: SIZE / EVERY,
      hits: undefined,
    });
    expect(search(raw, NEEDLE, ...RAW, "--max", "3").found).toMatchObject({ count: 3, hits: [{}, {}, {}] });
  });

  it("is written in pieces", async () => {
    const program = path.join(projectRoot, "dist/cli/main.js");
    const child = spawn(process.execPath, [program, "search", "--json", raw, NEEDLE, ...RAW, "--no-owner"]);
    const pieces: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (piece: string) => void pieces.push(piece));
    await new Promise((resolve) => child.once("close", resolve));
    expect(pieces.length).toBeGreaterThan(1);
    expect((JSON.parse(pieces.join("")) as Found).count).toBe(SIZE / EVERY);
  });

  it("is the document of an error where the input can't be opened, whose status is the command's", () => {
    const missing = path.join(folder, "missing");
    for (const [status, document] of [
      [search(missing, "x").status, search(missing, "x").found],
      ((): [number | null, unknown] => {
        const { status: of, stdout } = runCli(["diff", "--json", missing, missing]);
        validDocument(stdout, "diff");
        return [of, JSON.parse(stdout)];
      })(),
    ] as const) {
      expect(status).toBe(2);
      expect(document).toMatchObject({ kind: "error", error: { code: "os/ENOENT", status: 2 } });
    }
  });

  it("has the hits before damage, their count and the error, and status 2", () => {
    const legacy = path.join(folder, "web01.legacy");
    fs.writeFileSync(legacy, gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz"))));
    const [save, kdump] = [path.join(folder, "web01.save"), path.join(folder, "web01.kdump")];
    expect(runCli(["convert", legacy, save]).status).toBe(0);
    expect(runCli(["extract", save, kdump, "--to", "kdump"]).status).toBe(0);
    const words = [kdump, "--regex", "[a-z]{6}", "--no-owner"];
    const whole = search(...words).found;
    const bytes = fs.readFileSync(kdump);
    bytes.fill(0xff, bytes.length - 2000);
    fs.writeFileSync(kdump, bytes);
    const { status, found } = search(...words);
    expect(status).toBe(2);
    expect(found.error).toMatchObject({ code: "kdump/page/damaged", status: 2 });
    expect(found.count).toBeGreaterThan(0);
    expect(found.hits).toHaveLength(found.count);
    expect(found.hits).toEqual(whole.hits?.slice(0, found.count));
  });

  it("prints lines with the same addresses", () => {
    const { stdout } = runCli(["search", raw, NEEDLE, ...RAW]);
    const addresses = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(":")[0]);
    expect(addresses).toEqual(search(raw, NEEDLE, ...RAW).found.hits?.map(({ address }) => address));
  });
});

describe("hits that wait", () => {
  const hit = (address: number): Hit => ({
    address: BigInt(address),
    length: 1,
    kind: "bytes",
    context: new Uint8Array(1),
    contextStart: 0,
  });

  it("are written by address, no more than are wanted together, none before one that may still come first", async () => {
    const written: number[][] = [];
    const batch = new HitBatch(
      3,
      async (hits) => void written.push(hits.slice(0, hits.length).map(({ address }) => Number(address))),
    );
    for (const address of [10, 30]) batch.add(hit(address));
    await batch.reached(40n);
    expect(written).toEqual([]);
    for (const address of [20, 50]) batch.add(hit(address));
    await batch.reached(25n);
    expect(written).toEqual([[10, 20]]);
    for (const address of [26, 60, 70]) batch.add(hit(address));
    await batch.reached(100n);
    await batch.end();
    expect(written).toEqual([
      [10, 20],
      [26, 30, 50],
      [60, 70],
    ]);
  });

  it("come out as they were, however many wait and whatever is around them", async () => {
    const hits = fc.array(
      fc.record({
        address: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        length: fc.nat(2 ** 31),
        kind: fc.constantFrom("bytes", "text", "utf-16le"),
        context: fc.uint8Array({ maxLength: 300 }),
        contextStart: fc.nat(300),
      }),
      { maxLength: 3000, size: "max" },
    );
    await fc.assert(
      fc.asyncProperty(hits, fc.integer({ min: 1, max: 2000 }), async (all, most) => {
        const written: Hit[] = [];
        const batch = new HitBatch(most, async (run) => {
          expect(run.length).toBeLessThanOrEqual(most);
          const rows = run.slice(0, run.length);
          expect(run.addresses()).toEqual(rows.map(({ address }) => address));
          written.push(...rows.map((row) => ({ ...row, context: row.context.slice() })));
        });
        for (const hit of all) batch.add(hit);
        await batch.reached(2n ** 63n);
        await batch.end();
        const sorted = all
          .map((hit, i) => ({ hit, i }))
          .sort((a, b) =>
            a.hit.address < b.hit.address ? -1 : a.hit.address > b.hit.address ? 1 : a.i - b.i,
          );
        expect(written).toEqual(sorted.map(({ hit }) => hit));
      }),
      { numRuns: 20 },
    );
  });
});
