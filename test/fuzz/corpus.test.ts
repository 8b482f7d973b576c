import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { mutate, type Seed } from "../../fuzz/mutate.js";
import { Random } from "../../fuzz/random.js";
import { TARGETS } from "../../fuzz/targets.js";

/** Inputs that broke something once: TARGET-NAME.bin, packed where that is worth it. */
const folder = path.join(import.meta.dirname, "corpus");
const INPUTS = fs.readdirSync(folder).filter((name) => /\.bin(\.gz)?$/.test(name));
/** Processor time and memory of one look at an input: what `npm run fuzz` allows, and as much again for a machine with other work. */
const MOST_MS = 2000;
const MOST_GROWTH = 300 << 20;
const WAYS = 6;

describe("inputs that broke something once", () => {
  it.each(INPUTS)("%s breaks nothing", async (name) => {
    const target = TARGETS.filter((one) => name.startsWith(`${one.name}-`)).sort(
      (a, b) => b.name.length - a.name.length,
    )[0];
    expect(target, name).toBeDefined();
    const file = fs.readFileSync(path.join(folder, name));
    const bytes = Uint8Array.from(name.endsWith(".gz") ? zlib.gunzipSync(file) : file);
    for (let way = 0; way < WAYS; way += 1) {
      const memory = process.memoryUsage.rss();
      const start = process.cpuUsage();
      await target?.run(bytes, new Random(way));
      const { user, system } = process.cpuUsage(start);
      expect((user + system) / 1000).toBeLessThan(MOST_MS);
      expect(process.memoryUsage.rss() - memory).toBeLessThan(MOST_GROWTH);
    }
  });
});

describe("mutation", () => {
  const fields = [{ offset: 4, size: 4 }];
  const seed: Seed = { name: "one", bytes: Uint8Array.from({ length: 64 }, (_, i) => i), fields };

  it("gives the same mutant for the same number, and leaves its seed alone", () => {
    const before = seed.bytes.slice();
    const mutants = Array.from({ length: 200 }, (_, i) => mutate(seed, [seed], new Random(i)));
    expect(Array.from({ length: 200 }, (_, i) => mutate(seed, [seed], new Random(i)))).toEqual(mutants);
    expect(seed.bytes).toEqual(before);
    expect(new Set(mutants.map((bytes) => Buffer.from(bytes).toString("hex"))).size).toBeGreaterThan(150);
  });

  it("changes declared fields, cuts, lengthens", () => {
    const mutants = Array.from({ length: 500 }, (_, i) => mutate(seed, [seed], new Random(i)));
    const isField = (bytes: Uint8Array): boolean =>
      bytes.length === 64 && bytes.every((byte, i) => byte === i || (i >= 4 && i < 8));
    expect(mutants.filter(isField).length).toBeGreaterThan(50);
    expect(mutants.some(({ length }) => length < 64)).toBe(true);
    expect(mutants.some(({ length }) => length > 64)).toBe(true);
  });
});
