import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { openGuest } from "../../src/open/open.js";
import { hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

installNodeCodecs();
const PAGE = 4096;
const place = scratch();
afterAll(place.cleanup);

const bytesOf = (name: string): Buffer =>
  fs.readFileSync(unzstd(path.join(sharedData, name), place.folder, { name: path.basename(name) }));
const opened = (bytes: Buffer): Promise<GuestImage> => openGuest(bytesSource(bytes), { partial: true });

/** Pages that have other contents than in the whole stream: those that are said to be doubtful, and others. */
async function older(whole: Buffer, cut: Buffer): Promise<{ said: number; unsaid: number }> {
  const [all, guest] = [await opened(whole), await opened(cut)];
  const [right, given] = [Buffer.alloc(PAGE), Buffer.alloc(PAGE)];
  let [said, unsaid] = [0, 0];
  for (const { start, end, presence } of guest.memory.ranges()) {
    if (presence === "absent") continue;
    for (let gpa = start; gpa < end; gpa += PAGE) {
      right.fill(0);
      await all.memory.read(gpa, right);
      await guest.memory.read(gpa, given);
      if (given.equals(right)) continue;
      if (guest.rescue?.doubtful.some((part) => gpa >= part.start && gpa < part.end) === true) said += 1;
      else unsaid += 1;
    }
  }
  await all.close?.();
  await guest.close?.();
  return { said, unsaid };
}

const LIVE = [
  // in the first pass, in the second, in the last
  ["xen-legacy/hvm64-live.legacy.zst", [1_000_000, 3_538_944, 7_000_000]],
  ["qemu-migration/tiny-live/stream.qevm.zst", [5_000_000, 8_500_000, 10_700_000]],
  ["xen-v3/hvm64-live.stream.zst", [30_000_000]],
] as const;

describe.skipIf(skipUnless(hasShared, "shared data"))("a stream that was sent while the guest ran", () => {
  it.each(LIVE.flatMap(([name, ends]) => ends.map((end) => [name, end] as const)))(
    "%s cut at %i: what came before may be older, and is said to be",
    async (name, end) => {
      const whole = bytesOf(name);
      const cut = whole.subarray(0, end);
      const { said, unsaid } = await older(whole, cut);
      expect(unsaid).toBe(0);
      expect(said).toBeGreaterThan(0);
      const { rescue, warnings } = await opened(cut);
      expect(rescue?.lost).toEqual([]);
      expect(rescue?.doubtful[0]?.why).toMatch(/may be older than the guest's last state/);
      expect(warnings.join()).toMatch(/doubtful: memory 0x0 .*may be older than the guest's last state/);
    },
  );

  it("cut anywhere in the state after its memory, a legacy one has no rescue", async () => {
    const whole = bytesOf("xen-legacy/hvm64-live.legacy.zst");
    const context = whole.lastIndexOf(Buffer.from("DeviceModelRecord0002"));
    expect(context).toBeGreaterThan(0);
    for (const before of [-20, 100, 1000, 2500])
      expect((await opened(whole.subarray(0, context - before))).rescue, `${before}`).toBeUndefined();
  });

  it.each(LIVE.map(([name]) => name))("%s whole, or cut after its memory, has no rescue", async (name) => {
    const whole = bytesOf(name);
    expect((await opened(whole)).rescue).toBeUndefined();
    const cut = await opened(whole.subarray(0, whole.length - 1000));
    expect(cut.rescue).toBeUndefined();
    expect(cut.warnings.join()).toMatch(/ends|lacks/);
  });
});

describe.skipIf(skipUnless(hasShared, "shared data"))("a stream of a guest that was stopped", () => {
  it.each([
    ["xen-legacy/hvm64-libxl.legacy.zst", false],
    ["xen-v3/pv64.save.zst", true],
    ["libvirt-save/raw.save.zst", true],
  ])("%s cut in its memory has nothing that may be older", async (name, isUnknown) => {
    const whole = bytesOf(name);
    const guest = await opened(whole.subarray(0, Math.floor(whole.length / 2)));
    expect(guest.rescue).toBeUndefined();
    expect(guest.warnings.join()).toMatch(/ends/);
    // only a legacy stream says that the guest was stopped
    expect(guest.warnings.some((line) => line.includes("if the guest ran while it was sent"))).toBe(
      isUnknown,
    );
  });
});

describe.skipIf(skipUnless(hasShared, "shared data"))("a QEMU stream that lacks bytes in a page", () => {
  it.each([1, 100, 2000, 9000])("%i bytes: the page that they are missing from is doubtful", async (size) => {
    const whole = bytesOf("qemu-migration/tiny-live/stream.qevm.zst");
    const at = 5_000_000;
    const damaged = Buffer.concat([whole.subarray(0, at), whole.subarray(at + size)]);
    const { rescue, warnings } = await opened(damaged);
    expect((await older(whole, damaged)).unsaid).toBe(0);
    expect(rescue?.doubtful).toHaveLength(1);
    const [page] = rescue?.doubtful ?? [];
    expect((page?.end ?? 0) - (page?.start ?? 0)).toBe(PAGE);
    expect(rescue?.lost[0]?.doubtfulFrom).toBeLessThan(at);
    expect(warnings.join()).toMatch(/is shifted if bytes are missing/);
  });
});
