import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AARCH64 } from "../../src/guest/arch/arm.js";
import { X86_64 } from "../../src/guest/arch/x86.js";
import { compareFacts, compareMemory, compareValues, flatten } from "../../src/guest/compare.js";
import { PageMap } from "../../src/guest/page-map.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { because } from "./absent-reason.js";
import { rounds } from "../shared.js";

const PAGE = 4096;
type Kind = "nowhere" | "absent" | "zero" | 0 | 1 | 2 | 3;

/** Contents by number: 3 is a page of zeros that is there. */
const CONTENTS = new Uint8Array(4 * PAGE).map((_, i) => [1, 2, 3, 0][Math.floor(i / PAGE)] ?? 0);

function memoryOf(kinds: readonly Kind[]): PageMap {
  const memory = new PageMap(bytesSource(CONTENTS));
  kinds.forEach((kind, pfn) => {
    if (kind === "absent") memory.absent(pfn, 1, because("left out"));
    else if (kind === "zero") memory.zero(pfn, 1);
    else if (kind !== "nowhere") memory.set(pfn, 1, kind * PAGE);
  });
  return memory;
}

const content = (kind: Kind): number | undefined =>
  kind === "nowhere" || kind === "absent" ? undefined : kind === "zero" ? 3 : kind;

describe("comparison of memory", () => {
  const kinds = fc.array(fc.constantFrom<Kind>("nowhere", "absent", "zero", "zero", 0, 0, 1, 2, 3), {
    maxLength: 60,
  });

  it("reports exactly the pages that differ, and those that only one input holds", async () => {
    await fc.assert(
      fc.asyncProperty(kinds, kinds, async (a, b) => {
        const found = await compareMemory(memoryOf(a), memoryOf(b));
        const pages = (runs: readonly { start: number; end: number }[]): number[] =>
          runs.flatMap(({ start, end }) =>
            Array.from({ length: (end - start) / PAGE }, (_, i) => start / PAGE + i),
          );
        const expected = { changed: [] as number[], first: [] as number[], second: [] as number[] };
        let both = 0;
        for (let pfn = 0; pfn < Math.max(a.length, b.length); pfn += 1) {
          const [one, other] = [content(a[pfn] ?? "nowhere"), content(b[pfn] ?? "nowhere")];
          if (one !== undefined && other !== undefined) both += 1;
          if (one !== undefined && other === undefined) expected.first.push(pfn);
          else if (one === undefined && other !== undefined) expected.second.push(pfn);
          else if (one !== other) expected.changed.push(pfn);
        }
        expect(pages(found.changed)).toEqual(expected.changed);
        expect(found.changedPages).toBe(expected.changed.length);
        expect(pages(found.onlyFirst)).toEqual(expected.first);
        expect(pages(found.onlySecond)).toEqual(expected.second);
        expect(found.compared).toBe(both * PAGE);
      }),
      { numRuns: rounds(200) },
    );
  });
});

describe("comparison of named values", () => {
  it("names what differs, and what only one has unless only common names count", () => {
    const values = (value: unknown): Map<string, string> => {
      const into = new Map<string, string>();
      flatten(value, "", into);
      return into;
    };
    const [one, other] = [values({ a: { b: 1n }, c: 2 }), values({ a: { b: 2n }, d: Uint8Array.of(1, 255) })];
    expect(compareValues(one, other)).toEqual([
      { name: "a.b", first: "0x1", second: "0x2" },
      { name: "c", first: "2", second: undefined },
      { name: "d", first: undefined, second: "01ff" },
    ]);
    expect(compareValues(one, other, true)).toEqual([{ name: "a.b", first: "0x1", second: "0x2" }]);
  });
});

describe("comparison of facts", () => {
  const guest = { memory: memoryOf([]), vcpus: [], warnings: [] };
  const facts = { origin: "memory", source: "x" };

  it("an architecture that an input doesn't say is no difference", () => {
    const one = { ...guest, arch: AARCH64, facts };
    expect(compareFacts(one, { ...guest, arch: X86_64, facts })).toEqual([
      { name: "arch", first: "aarch64", second: "x86_64" },
    ]);
    expect(compareFacts(one, { ...guest, arch: X86_64, facts: { ...facts, archIsGuess: true } })).toEqual([]);
  });
});
