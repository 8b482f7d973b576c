import fc from "fast-check";
import { expect, it } from "vitest";
import { type ByteSource, bytesSource, type MaybePromise } from "../../src/io/byte-source.js";
import { readInHalves } from "../../src/io/halves.js";

const LARGE = 2 << 20;
const BYTES = new Uint8Array(3 << 20).map((_, i) => i * 31 + (i >> 12));
const whole = bytesSource(BYTES);

/** A source whose answers take what `kinds` say, in turn: at once, later, or later and short. */
function source(kinds: readonly ("now" | "later" | "short")[]): ByteSource {
  let call = 0;
  return {
    ...whole,
    read(offset, into): MaybePromise<number> {
      const kind = kinds[call % kinds.length];
      call += 1;
      if (kind === "now") return whole.read(offset, into);
      const part = kind === "short" ? into.subarray(0, into.length >> 2) : into;
      return Promise.resolve().then(() => whole.read(offset, part));
    },
  };
}

it("gives the bytes that are there, however its halves are answered", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: BYTES.length }),
      fc.constantFrom(0, 5, 1000, LARGE - 1, LARGE, LARGE + 1, BYTES.length + 9),
      fc.array(fc.constantFrom("now" as const, "later" as const, "short" as const), {
        minLength: 1,
        maxLength: 3,
      }),
      async (offset, length, kinds) => {
        const into = new Uint8Array(length);
        const n = await readInHalves(source(kinds), offset, into);
        expect(n).toBeLessThanOrEqual(Math.max(0, Math.min(length, BYTES.length - offset)));
        if (length > 3 && offset < BYTES.length) expect(n).toBeGreaterThan(0);
        expect(Buffer.compare(into.subarray(0, n), BYTES.subarray(offset, offset + n))).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

it("has both halves of a large read under way at once, and a small one whole", async () => {
  let underWay = 0;
  let most = 0;
  let calls = 0;
  const slow: ByteSource = {
    ...whole,
    async read(offset, into) {
      calls += 1;
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise((resolve) => setTimeout(resolve, 5));
      underWay -= 1;
      return whole.read(offset, into);
    },
  };
  expect(await readInHalves(slow, 0, new Uint8Array(1 << 20))).toBe(1 << 20);
  expect([calls, most]).toEqual([1, 1]);
  expect(await readInHalves(slow, 0, new Uint8Array(LARGE))).toBe(LARGE);
  expect([calls, most]).toEqual([3, 2]);
});

it.each([
  ["first", 0],
  ["second", 1],
] as const)("hands on an error of the %s half", async (_half, failing) => {
  for (const how of ["throws", "rejects"] as const) {
    let call = 0;
    const broken: ByteSource = {
      ...whole,
      read(): MaybePromise<number> {
        call += 1;
        if (call - 1 !== failing) return Promise.resolve(LARGE / 2);
        if (how === "throws") throw new Error("no disk");
        return Promise.reject(new Error("no disk"));
      },
    };
    await expect((async () => readInHalves(broken, 0, new Uint8Array(LARGE)))()).rejects.toThrow("no disk");
  }
});
