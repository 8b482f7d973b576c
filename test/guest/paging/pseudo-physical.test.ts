import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { pseudoPhysical } from "../../../src/guest/paging/pseudo-physical.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

async function differing(one: GuestImage, other: GuestImage): Promise<number[]> {
  const frames: number[] = [];
  const [a, b] = [Buffer.alloc(4096), Buffer.alloc(4096)];
  for (let frame = 0; frame < 32768; frame += 1) {
    await one.memory.read(frame * 4096, a);
    await other.memory.read(frame * 4096, b);
    if (!a.equals(b)) frames.push(frame);
  }
  return frames;
}

describe.skipIf(skipUnless(hasShared, "shared/data"))("page tables of a PV guest's xl dump-core", () => {
  it("are rewritten to what the save of the same stop has", async () => {
    const save = unzstd(path.join(sharedData, "xen420/pvl.save.zst"), folder);
    const core = unzstd(path.join(sharedData, "xen420/pvl.core.patch.zst"), folder, { patchFrom: save });
    const [saved, dumped] = [await openGuest(openFile(save)), await openGuest(openFile(core))];
    const own = await pseudoPhysical(dumped);
    // a table that no other leads to stays as it is
    expect(await differing(saved, own)).toEqual([0x7fa9]);
    expect((await differing(saved, dumped)).length).toBeGreaterThan(150);
    const cr3 = (guest: GuestImage): unknown =>
      guest.vcpus.map(({ registers }) => (registers?.kind === "x86" ? registers.control.cr3 : undefined));
    expect(cr3(own)).toEqual(cr3(saved));
    expect(own.facts.kernelLayout).toEqual(saved.facts.kernelLayout);
    expect(own.facts.kernelLayout?.directMap).toBe(0xffff_8880_0000_0000n);
    expect(dumped.facts.kernelLayout).toBeUndefined();
    // pieces say what reads say
    const page = Buffer.alloc(4096);
    for await (const { gpa, length, bytes } of own.memory.pieces(0x3000000, 0x3400000)) {
      for (let at = 0; at < length; at += 4096) {
        await own.memory.read(gpa + at, page);
        expect(page.equals(bytes?.subarray(at, at + 4096) ?? Buffer.alloc(4096))).toBe(true);
      }
    }
    expect(await pseudoPhysical(saved)).toBe(saved);
  });
});
