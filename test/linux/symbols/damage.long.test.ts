import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestscopeError } from "../../../src/findings/errors.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { type Kernel, openKernel } from "../../../src/linux/kernel.js";
import { SYMBOL_FILES } from "../../../src/linux/symbols/files.js";
import { changed, openFixture } from "../fixture.js";

/** A well-mixed number of a place and a seed. */
function mix(place: number, seed: number): number {
  let h = Math.imul(place ^ seed, 0x9e37_79b1);
  h = Math.imul(h ^ (h >>> 15), 0x85eb_ca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

/** Changes one byte in `rarity`. */
function damage(gpa: number, bytes: Uint8Array, seed: number, rarity: number): void {
  for (let i = 0; i < bytes.length; i += 1) {
    const chance = mix(gpa + i, seed);
    if (chance % rarity === 0) bytes[i] = chance >>> 24;
  }
}

/** Writes all kinds; how many could be written. */
async function writeAll(kernel: Kernel): Promise<number> {
  let written = 0;
  for (const write of Object.values(SYMBOL_FILES)) {
    try {
      await write(kernel, new MemorySink());
      written += 1;
    } catch (error) {
      expect(error).toBeInstanceOf(GuestscopeError);
    }
  }
  return written;
}

describe("symbol files of damaged memory", () => {
  let guest: GuestImage;
  let start = 0;
  let end = 0;

  beforeAll(async () => {
    guest = await openFixture("hvmlinux-6.1");
    const kernel = await openKernel(guest);
    const from = kernel.needSymbol("__start_BTF");
    start = (await kernel.space.translate(from)) ?? 0;
    end = start + Number(kernel.needSymbol("__stop_BTF") - from);
  });
  afterAll(async () => guest.close?.());

  it("whose BTF is damaged are written or refused with an error of ours", async () => {
    for (const [seed, rarity] of [
      [1, 5000],
      [2, 200_000],
      [3, 1_000_000],
    ] as const) {
      const kernel = await openKernel(
        changed(guest, (gpa, bytes) => {
          const first = Math.max(start + 24, gpa);
          const last = Math.min(end, gpa + bytes.length);
          if (first < last) damage(first, bytes.subarray(first - gpa, last - gpa), seed, rarity);
        }),
      );
      // symbols are not from BTF
      expect(await writeAll(kernel)).toBeGreaterThanOrEqual(1);
    }
  });

  it("whose image is damaged after it was opened are written", async () => {
    let isDamaged = false;
    const kernel = await openKernel(
      changed(guest, (gpa, bytes) => {
        if (isDamaged) damage(gpa, bytes, 4, 300);
      }),
    );
    isDamaged = true;
    expect(await writeAll(kernel)).toBe(4);
  });
});
