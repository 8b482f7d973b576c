import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { mutate, type Seed } from "../../fuzz/mutate.js";
import { Random } from "../../fuzz/random.js";
import { TARGETS } from "../../fuzz/targets.js";

/** Inputs that broke something once: TARGET-NAME.bin. */
const folder = path.join(import.meta.dirname, "corpus");
const INPUTS = fs.readdirSync(folder).filter((name) => name.endsWith(".bin"));
const WAYS = 6;

describe("inputs that broke something once", () => {
  it.each(INPUTS)("%s breaks nothing", async (name) => {
    const target = TARGETS.filter((one) => name.startsWith(`${one.name}-`)).sort(
      (a, b) => b.name.length - a.name.length,
    )[0];
    expect(target, name).toBeDefined();
    const bytes = Uint8Array.from(fs.readFileSync(path.join(folder, name)));
    for (let way = 0; way < WAYS; way += 1) await target?.run(bytes, new Random(way));
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
