import { because } from "./absent-reason.js";
import { describe, expect, it } from "vitest";
import { withoutDamage } from "../../src/guest/damage.js";
import type { GuestImage } from "../../src/guest/image.js";
import { X86_64 } from "../../src/guest/arch/x86.js";
import { PageMap } from "../../src/guest/page-map.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { FormatError, SystemError } from "../../src/findings/errors.js";
import { CODEC_RULES } from "../../src/io/rules.js";

const PAGE = 4096;

/** Frames 0–2999 decoded, 3000–3009 zero, 3010–3019 absent, 4000–4009 decoded; `bad` ones don't unpack. */
function guestWith(
  bad: ReadonlySet<number>,
  fail: () => Error = () => new FormatError(CODEC_RULES.zstd, "bad"),
) {
  const memory = new PageMap(bytesSource(new Uint8Array(0)), {
    decode(token, into) {
      if (bad.has(token)) throw fail();
      into.fill((token % 250) + 1);
    },
  });
  memory.decoded(0, 3000, 0);
  memory.zero(3000, 10);
  memory.absent(3010, 10, because("never there"));
  memory.decoded(4000, 10, 4000);
  const guest: GuestImage = {
    arch: X86_64,
    memory,
    vcpus: [],
    facts: { origin: "test", source: "test" },
    warnings: ["before"],
  };
  return guest;
}

describe("memory without its damaged pages", () => {
  it("is the guest itself when nothing is damaged", async () => {
    const guest = guestWith(new Set());
    expect(await withoutDamage(guest)).toBe(guest);
  });

  it("lacks those pages and no others, with their reason", async () => {
    const bad = new Set([0, 1, 777, 2999, 4000, 4009]);
    const guest = await withoutDamage(guestWith(bad));
    expect(guest.warnings).toEqual(["before", `${6 * PAGE} bytes of memory are damaged in the input`]);
    const absent = Array.from(guest.memory.ranges()).filter(({ presence }) => presence === "absent");
    const frames = absent.map(({ start, end, reason }) => [start / PAGE, end / PAGE, reason?.text]);
    const reason = "damaged (codec/zstd)";
    expect(frames).toEqual([
      [0, 2, reason],
      [777, 778, reason],
      [2999, 3000, reason],
      [3010, 3020, "never there"],
      [4000, 4001, reason],
      [4009, 4010, reason],
    ]);
    let next = 0;
    const seen = new Set<number>();
    for await (const { gpa, length, bytes } of guest.memory.pieces()) {
      expect(gpa).toBeGreaterThanOrEqual(next);
      next = gpa + length;
      for (let at = gpa; at < next; at += PAGE) {
        const frame = at / PAGE;
        expect(bytes?.[at - gpa] ?? 0).toBe(frame >= 3000 && frame < 3010 ? 0 : (frame % 250) + 1);
        seen.add(frame);
      }
    }
    expect(seen.size).toBe(3020 - 6);
    const page = new Uint8Array(3 * PAGE);
    expect(await guest.memory.read(0, page)).toBe(0);
    expect(await guest.memory.read(775 * PAGE, page)).toBe(2 * PAGE);
    expect(await guest.memory.read(778 * PAGE, page)).toBe(3 * PAGE);
    const within: number[] = [];
    for await (const { gpa } of guest.memory.pieces(777 * PAGE, 779 * PAGE)) within.push(gpa / PAGE);
    expect(within).toEqual([778]);
  });

  it("is no cure for a source that fails", async () => {
    const guest = guestWith(new Set([5]), () => new SystemError("os/EIO", "the disk is broken"));
    await expect(withoutDamage(guest)).rejects.toBeInstanceOf(SystemError);
  });
});
