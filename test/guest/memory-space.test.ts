import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/findings/errors.js";
import { rowsOf } from "../../src/guest/hex-rows.js";
import { physicalSpace, readSpan } from "../../src/guest/memory-space.js";
import { PageMap } from "../../src/guest/page-map.js";
import { parseLength, parseWhere } from "../../src/guest/where.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { because } from "./absent-reason.js";

const PAGE = 4096;

/** Pages 1 and 2 with bytes of their own, page 3 absent, page 4 zero, nothing from 5 on but page 7. */
function guest(): { memory: PageMap; bytes: Uint8Array } {
  const bytes = Uint8Array.from({ length: 3 * PAGE }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  const memory = new PageMap(bytesSource(bytes));
  memory.set(1, 2, 0);
  memory.absent(3, 1, because("left out"));
  memory.zero(4, 1);
  memory.set(7, 1, 2 * PAGE);
  return { memory, bytes };
}

async function rows(start: number, length: number, form: "hex" | "u32" | "u64" | "code"): Promise<string[]> {
  const { memory } = guest();
  const list: string[] = [];
  for await (const row of rowsOf(readSpan(physicalSpace(memory), BigInt(start), length), form, "little"))
    list.push(row);
  return list;
}

describe("memory by address", () => {
  it("gives every byte of a span once, and says of what is missing why", async () => {
    const { memory, bytes } = guest();
    const whole = new Map<number, number>();
    bytes.subarray(0, 2 * PAGE).forEach((byte, i) => whole.set(PAGE + i, byte));
    for (let i = 0; i < PAGE; i += 1) {
      whole.set(4 * PAGE + i, 0);
      whole.set(7 * PAGE + i, bytes[2 * PAGE + i] ?? 0);
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(10 * PAGE), fc.integer({ min: 1, max: 9 * PAGE }), async (start, length) => {
        let at = start;
        for await (const part of readSpan(physicalSpace(memory), BigInt(start), length)) {
          expect(Number(part.address)).toBe(at);
          expect(part.bytes === undefined).toBe(part.why !== undefined);
          let wrong = 0;
          for (let i = 0; i < part.length; i += 1) if (part.bytes?.[i] !== whole.get(at + i)) wrong += 1;
          expect(wrong).toBe(0);
          at += part.length;
        }
        expect(at).toBe(start + length);
      }),
      { numRuns: 40 },
    );
  });

  it("shows missing bytes within a row as dashes and the rest of them as one line", async () => {
    const shown = await rows(3 * PAGE - 8, PAGE + 16, "hex");
    expect(shown).toHaveLength(3);
    expect(shown[0]).toMatch(/^00002ff8: (?:[0-9a-f]{4} ){4}(?:---- ){4}/);
    expect(shown[1]).toBe("00003008: 4088 bytes absent: left out");
    expect(shown[2]).toBe(`00004000: ${"0000 ".repeat(4)}${" ".repeat(20)} ........`);
  });

  it("shows numbers in the guest's byte order", async () => {
    const { bytes } = guest();
    const view = new DataView(bytes.buffer);
    const [row] = await rows(PAGE, 16, "u64");
    expect(row).toBe(
      `00001000: ${[0, 8].map((at) => view.getBigUint64(at, true).toString(16).padStart(16, "0")).join(" ")}`,
    );
  });
});

describe("places as people name them", () => {
  it("reads addresses, ranges and symbols", () => {
    expect(parseWhere("0x1000")).toEqual({ kind: "physical", symbol: "", address: 0x1000n });
    expect(parseWhere("v:0xffffffff81000000-0xffffffff81000010")).toEqual({
      kind: "virtual",
      symbol: "",
      address: 0xffff_ffff_8100_0000n,
      length: 16,
    });
    expect(parseWhere("init_task+0x40")).toEqual({ kind: "symbol", symbol: "init_task", address: 0x40n });
    for (const text of ["", "0x", "2-1", "1K", "v:jiffies", "a b", "0x1-0x1", "-1", "99999999999999999999"])
      expect(() => parseWhere(text), text).toThrow(UsageError);
  });

  it("reads lengths with units", () => {
    expect([parseLength("0x10"), parseLength("2K"), parseLength("1m")]).toEqual([16, 2048, 1 << 20]);
    for (const text of ["0", "", "K", "-1", "1T", "99999999G"])
      expect(() => parseLength(text), text).toThrow(UsageError);
  });
});
