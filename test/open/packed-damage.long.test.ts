import { execFileSync } from "node:child_process";
import { beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { type ByteSource, bytesSource } from "../../src/io/byte-source.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { openGuest } from "../../src/open/open.js";
import { DAMAGE_KINDS, damage, damageSize, randoms } from "../guest/damage-oracle.js";
import { walkedFrames } from "../io/codecs/frames/walked-frames.js";
import type { KnownFrame } from "../io/codecs/frames/packed-oracle.js";
import { hasProgram, skipUnless } from "../shared.js";
import { guestFiles } from "./guest-files.js";

const PAGE = 4096;

/** Pages of a guest, and where the file holds those that are in it as they are. */
interface KnownPage {
  readonly gpa: number;
  readonly bytes: Buffer;
  readonly offset: number | undefined;
}

async function pagesOf({ memory }: GuestImage): Promise<KnownPage[]> {
  const pages: KnownPage[] = [];
  for (const { start, end, presence } of memory.ranges()) {
    if (presence !== "present") continue;
    for (let gpa = start; gpa + PAGE <= end; gpa += PAGE) {
      const bytes = Buffer.alloc(PAGE);
      if ((await memory.read(gpa, bytes)) < PAGE) continue;
      pages.push({ gpa, bytes, offset: memory.contiguous?.(gpa, PAGE)?.offset });
    }
  }
  return pages;
}

/** Compares what a damaged file gives with what it gave; returns the part of pages in whole blocks that came. */
async function shareOf(
  guest: GuestImage | undefined,
  pages: readonly KnownPage[],
  isHit: (offset: number) => boolean,
  where: string,
): Promise<number> {
  let [wanted, recovered] = [0, 0];
  const into = Buffer.alloc(PAGE);
  for (const { gpa, bytes, offset } of pages) {
    const isWanted = offset !== undefined && !isHit(offset) && !isHit(offset + PAGE - 1);
    if (isWanted) wanted += 1;
    // absent pages are not read at all, or end the read
    if (guest === undefined || (await guest.memory.read(gpa, into)) < PAGE) continue;
    if (!into.equals(bytes)) expect.fail(`${where}: page 0x${gpa.toString(16)} has other contents`);
    if (isWanted) recovered += 1;
  }
  return wanted === 0 ? 1 : recovered / wanted;
}

async function openDamaged(
  packed: Buffer,
): Promise<{ source: ByteSource; guest: GuestImage | undefined; close: () => void }> {
  const opened = await openRandomAccess(bytesSource(packed, "packed"), { keepTorn: true });
  const { source } = opened;
  const guest = await openGuest(source, { partial: true, findKernel: false }).catch(() => undefined);
  return { source, guest, close: () => opened.close() };
}

/** Formats that have the addresses of many pages in one place. */
const BATCHED: ReadonlySet<string> = new Set(["legacy", "v3"]);

/** Blocks of both have checksums, so that nothing is doubtful; lzop says how long a lost one was, bzip2 doesn't. */
const WAYS = [
  ["lzop", ["-c"]],
  ["bzip2", ["-1", "-c"]],
] as const;

describe.each(WAYS)("guests in files of %s that are damaged", (program, options) => {
  const absent = skipUnless(hasProgram(program), program);
  beforeAll(installNodeCodecs);

  it.skipIf(absent)("have the pages of whole blocks, and no others", async () => {
    const next = randoms(11);
    for (const [name, plain] of await guestFiles()) {
      const whole = await openGuest(bytesSource(plain, name), { findKernel: false });
      const pages = await pagesOf(whole);
      const packed = execFileSync(program, options, { input: plain, maxBuffer: 1 << 28 });
      const { frames } = await walkedFrames(program, plain, packed);
      for (let round = 0; round < 5; round += 1) {
        const kind = DAMAGE_KINDS[round] ?? "zeros";
        const size = Math.min(damageSize(kind, next), packed.length >> 3);
        // heads are another matter
        const from = Math.floor(packed.length * 0.1 + next() * (packed.length * 0.9 - size));
        const damaged = damage(packed, kind, from, from + size, next);
        const { source, guest, close } = await openDamaged(damaged);
        const where = `${name}, ${kind} from ${from} to ${from + size}`;
        const hit = frames.filter(({ start, end }) => start < from + size && end > from);
        const isHit = (offset: number): boolean =>
          hit.some((frame: KnownFrame) => offset >= frame.from && offset < frame.to);
        const share = await shareOf(guest, pages, isHit, where);
        const { lost = [], tear } = source.packed ?? {};
        const isMeasured = lost.every((part) => part.isMeasured) && tear === undefined;
        // what is lost with the head of a file, or with the entries of a batch of Xen's, is another matter
        if (hit.some(({ start }) => start === frames[0]?.start)) expect(share, where).toBeLessThanOrEqual(1);
        else expect(guest, where).toBeDefined();
        if (guest !== undefined && isMeasured && !BATCHED.has(name))
          expect(share, where).toBeGreaterThanOrEqual(0.95);
        await guest?.close?.();
        close();
      }
      await whole.close?.();
    }
  });
});
