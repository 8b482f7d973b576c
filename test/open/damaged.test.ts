import { describe, expect, it } from "vitest";
import { type ByteSource, bytesSource } from "../../src/io/byte-source.js";
import { findDamaged } from "../../src/open/damaged.js";
import { openGuest, verify } from "../../src/open/open.js";

/** A source of random-looking bytes that counts what is read of it. */
function counting(size: number): { input: ByteSource; read: () => number } {
  const bytes = Uint8Array.from({ length: size }, (_, i) => (Math.imul(i + 1, 0x9e37_79b1) >>> 24) | 1);
  const source = bytesSource(bytes);
  let sum = 0;
  const input: ByteSource = {
    ...source,
    name: source.name,
    size,
    read: (offset, into) => {
      sum += into.length;
      return source.read(offset, into);
    },
  };
  return { input, read: () => sum };
}

describe("an input of no known format", () => {
  it("is looked through once, though it is verified and then opened for what is left", async () => {
    const { input, read } = counting(1 << 20);
    const { format } = await verify(input);
    expect(format).toBeUndefined();
    const before = read();
    await expect(openGuest(input, { partial: true })).rejects.toThrow("no known format");
    expect(read() - before).toBeLessThan(before / 4);
  });

  it("is looked through again but for a format that was tried", async () => {
    const { input, read } = counting(1 << 16);
    expect(await findDamaged(input)).toBeUndefined();
    const before = read();
    const { FORMATS } = await import("../../src/open/formats.js");
    expect(await findDamaged(input, FORMATS[0])).toBeUndefined();
    expect(read()).toBeGreaterThan(before);
  });
});
