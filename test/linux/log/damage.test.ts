import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GuestscopeError } from "../../../src/findings/errors.js";
import { all, machine, message, ringOptions } from "./arbitraries.js";
import { makeIndexed, makeRing } from "./synthetic.js";
import { rounds } from "../../shared.js";

describe("damaged logs", () => {
  it("any damage ends in records, remarks and at most a GuestscopeError", async () => {
    const some = fc.array(message, { minLength: 1, maxLength: 60 });
    const changes = fc.array(fc.record({ at: fc.nat(), value: fc.nat(255) }), {
      minLength: 1,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(
        some,
        machine,
        ringOptions,
        fc.boolean(),
        changes,
        async (list, cpu, o, isRing, wrong) => {
          const kernel = isRing
            ? makeRing(list, { ...cpu, ...o }).kernel
            : makeIndexed(list, { ...cpu, size: 4096, caller: true }).kernel;
          const { bytes } = kernel.memory;
          for (const { at, value } of wrong) bytes[at % (isRing ? 0x2100 : 0x2400)] = value;
          try {
            const { records } = await all(kernel.source());
            expect(records.length).toBeLessThan(5000);
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
        },
      ),
      { numRuns: rounds(200) },
    );
  });

  it("a VMCOREINFO that lies is answered the same way", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 30 }),
        machine,
        fc.nat(),
        fc.nat(200),
        async (list, cpu, which, value) => {
          const { kernel } = makeRing(list, { ...cpu, countBits: 4, sizeBits: 10 });
          const keys = Array.from(kernel.info.keys()).filter((key) => /^(SIZE|OFFSET|LENGTH)/.test(key));
          kernel.info.set(keys[which % keys.length] ?? "", String(value));
          try {
            await all(kernel.source());
          } catch (error) {
            expect(error).toBeInstanceOf(GuestscopeError);
          }
        },
      ),
      { numRuns: rounds(200) },
    );
  });

  it("a large ring of which nothing is there costs one read a page", async () => {
    const { kernel } = makeRing([], { countBits: 15, sizeBits: 12, bits: 64, order: "little" });
    for (let page = 2; page < 4000; page += 1) kernel.memory.missing.add(page);
    kernel.long(0x1000 + 24, 40_000n);
    kernel.long(0x1000 + 32, 40_000n - 32_767n);
    const { records, remarks } = await all(kernel.source());
    expect(records).toEqual([]);
    expect(remarks).toEqual(["linux/log/unreadable: 32768 records are in memory that is not in the input"]);
    expect(kernel.memory.reads).toBeLessThan(1000);
  });
});
