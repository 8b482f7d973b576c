import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openGuest } from "../../../src/open/open.js";
import { DAMAGE_KINDS, expectRescue, randoms } from "../../guest/damage-oracle.js";
import { hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { expectHeadRescue, headParts, SHAPES } from "./head-damage.js";
import { knownStream } from "./known-stream.js";

installNodeCodecs();
const place = scratch();
afterAll(place.cleanup);

describe.each(SHAPES)("a damaged head of a stream: $guest, version $version, $layer, $order", (shape) => {
  it.each(headParts(shape))("$name", async (part) => expectHeadRescue(shape, part));
});

describe.skipIf(skipUnless(hasShared, "shared data"))("a damaged head of a real stream", () => {
  const FILES = ["hvm64.save", "pv64.save", "pvh64.save", "hvm64-live.stream"];

  it.each(FILES)("%s", { timeout: 600_000 }, async (name) => {
    const bytes = fs.readFileSync(unzstd(`${sharedData}/xen-v3/${name}.zst`, place.folder));
    const file = await knownStream(bytes);
    const next = randoms(name.length * 7919);
    const first = bytes.indexOf("XENF") + 32;
    const { facts } = await openGuest(bytesSource(bytes, "whole"));
    for (const kind of DAMAGE_KINDS) {
      // a part of the head, all of it, and what follows it too
      for (const end of [16, 48, first - 16, first, first + 64, 1 << 16, 1 << 20])
        await expectRescue(file, kind, 0, end, next);
      for (let round = 0; round < 4; round += 1) {
        const start = Math.floor(next() * first);
        await expectRescue(file, kind, start, Math.ceil(2 ** (next() * 12)), next);
      }
    }
    const headless = Buffer.from(bytes).fill(0, 0, first);
    const guest = await openGuest(bytesSource(headless, "headless"), { partial: true });
    expect(guest.facts.guestType).toBe(facts.guestType);
  });
});
