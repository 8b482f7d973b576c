import * as fs from "node:fs";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { inspect, openGuest } from "../../../src/open/open.js";
import { fixtures, hasShared, scratch, skipUnless } from "../../shared.js";
import { pagesOf, unpackKdump } from "./data.js";

installNodeCodecs();
const place = scratch();
afterAll(place.cleanup);

async function expectMended(bytes: Buffer, size: number, fills: readonly number[]): Promise<void> {
  const whole = await openGuest(bytesSource(bytes, "whole"), { partial: true });
  const { pages } = await pagesOf(whole);
  for (const fill of fills) {
    const damaged = Buffer.from(bytes).fill(fill, 0, size);
    await expect(openGuest(bytesSource(damaged, "damaged"))).rejects.toMatchObject({
      code: "open/damaged-head",
      remedy: { option: "partial" },
    });
    const guest = await openGuest(bytesSource(damaged, "damaged"), { partial: true });
    expect((await pagesOf(guest)).pages).toEqual(pages);
    expect(guest.vcpus).toEqual(whole.vcpus);
    expect(guest.rescue?.lost[0]?.start).toBe(0);
    const inspection = await inspect(bytesSource(damaged, "damaged"));
    expect(inspection.kind).toBe("kdump");
    expect(inspection.damage[0]?.message).toMatch(/signature .* is damaged/);
  }
}

describe("a kdump whose signature is damaged", () => {
  it("of the flattened form", async () => {
    const bytes = zlib.gunzipSync(fs.readFileSync(`${fixtures}/vmcore/machines/aarch64.flat.gz`));
    await expectMended(bytes, 16, [0, 0x5a]);
    // all of the head of the flattened form
    await expectMended(bytes, 4096, [0xff]);
  });

  it.skipIf(skipUnless(hasShared, "shared data"))("of the plain form", async () => {
    const bytes = fs.readFileSync(unpackKdump("tiny-split.snappy.kdump", place.folder));
    await expectMended(bytes, 8, [0x5a]);
  });
});
