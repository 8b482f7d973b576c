import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  array,
  inOrder,
  layout,
  bytes,
  readU64,
  text,
  u16,
  u32,
  u64,
  u64big,
  u8,
  viewOf,
  writeU64,
} from "../../src/binary/layout.js";
import { FormatError } from "../../src/findings/errors.js";

const SAMPLE = layout("sample", "no specification", {
  a: u8("first"),
  b: u16("second"),
  c: inOrder("big", u32("always big endian")),
  d: u64("length"),
  e: u64big("register"),
  f: bytes(3, "raw"),
  g: text(4, "name"),
  h: array(u16("element"), 2, "pair"),
});

describe("layout", () => {
  it("gives sizes, offsets and types", () => {
    expect(SAMPLE.size).toBe(34);
    expect(SAMPLE.offsetOf("e")).toBe(15);
    expect(SAMPLE.fields.map((field) => [field.name, field.offset, field.type])).toEqual([
      ["a", 0, "u8"],
      ["b", 1, "u16"],
      ["c", 3, "u32 big endian"],
      ["d", 7, "u64"],
      ["e", 15, "u64"],
      ["f", 23, "bytes[3]"],
      ["g", 26, "text[4]"],
      ["h", 30, "u16[2]"],
    ]);
  });

  it("writes known bytes in both orders", () => {
    const value = {
      a: 1,
      b: 0x0203,
      c: 0x04050607,
      d: 8,
      e: 9n,
      f: Uint8Array.of(1, 2, 3),
      g: "ab",
      h: [1, 2],
    };
    expect([...SAMPLE.encode(value, "little")].slice(0, 8)).toEqual([1, 3, 2, 4, 5, 6, 7, 8]);
    expect([...SAMPLE.encode(value, "big")].slice(0, 7)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it("reads back what it wrote", () => {
    fc.assert(
      fc.property(
        fc.record({
          a: fc.integer({ min: 0, max: 255 }),
          b: fc.integer({ min: 0, max: 65535 }),
          c: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
          d: fc.maxSafeNat(),
          e: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
          f: fc.uint8Array({ minLength: 3, maxLength: 3 }),
          g: fc.string({ minLength: 0, maxLength: 4, unit: fc.constantFrom("a", "Z", "\xe9") }),
          h: fc.tuple(fc.integer({ min: 0, max: 65535 }), fc.integer({ min: 0, max: 65535 })),
        }),
        fc.constantFrom("little" as const, "big" as const),
        (value, order) => {
          const back = SAMPLE.decode(SAMPLE.encode(value, order), order);
          expect({ ...back, f: [...back.f] }).toEqual({ ...value, f: [...value.f] });
        },
      ),
    );
  });

  it("refuses a u64 that a number can't hold", () => {
    const bytes = new Uint8Array(8);
    viewOf(bytes).setBigUint64(0, 1n << 53n, true);
    expect(() => readU64(viewOf(bytes), 0, true)).toThrow(FormatError);
    viewOf(bytes).setBigUint64(0, (1n << 53n) - 1n, true);
    expect(readU64(viewOf(bytes), 0, true)).toBe(Number.MAX_SAFE_INTEGER);
    writeU64(viewOf(bytes), 0, Number.MAX_SAFE_INTEGER, false);
    expect(readU64(viewOf(bytes), 0, false)).toBe(Number.MAX_SAFE_INTEGER);
  });
});
