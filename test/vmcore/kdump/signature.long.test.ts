import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { inspect, openGuest } from "../../../src/open/open.js";
import * as seeds from "../../../fuzz/seeds.js";
import { FlattenedSource } from "../../../src/vmcore/kdump/flattened.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { randoms } from "../../guest/damage-oracle.js";
import { fixtures, hasShared, isEverything, runCli, scratch, skipUnless } from "../../shared.js";
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

/** The plain form of a flattened dump among the fixtures. */
async function plainDump(machine: string): Promise<Buffer> {
  const bytes = zlib.gunzipSync(fs.readFileSync(`${fixtures}/vmcore/machines/${machine}.flat.gz`));
  const flattened = await FlattenedSource.open(bytesSource(bytes));
  const plain = Buffer.alloc(flattened.size);
  await flattened.read(0, plain);
  return plain;
}

const FILLS = isEverything ? (["zeros", "ones", "noise"] as const) : (["noise"] as const);

/** A copy whose first bytes are others. */
function withoutHead(bytes: Buffer, size: number, fill: "zeros" | "ones" | "noise"): Buffer {
  const next = randoms(size);
  const head = { zeros: () => 0, ones: () => 0xff, noise: () => Math.floor(next() * 256) }[fill];
  return Buffer.concat([Buffer.from(Array.from({ length: size }, head)), bytes.subarray(size)]);
}

describe("a kdump whose header is lost", () => {
  /** Block size of each. */
  const MACHINES = { arm: 4096, i386: 4096, s390x: 4096, aarch64: 65_536 } as const;

  const tried = Object.entries(MACHINES).filter(([name]) => isEverything || /i386|aarch64/.test(name));

  it.each(tried)("has all pages, and what its sub-header leads to: %s", async (name, block) => {
    const bytes = await plainDump(name);
    const whole = await openGuest(bytesSource(bytes), { partial: true });
    const { pages } = await pagesOf(whole);
    for (const fill of FILLS)
      for (const size of [1024, block]) {
        const damaged = withoutHead(bytes, size, fill);
        const where = `${fill} ${size}`;
        await expect(openGuest(bytesSource(damaged)), where).rejects.toMatchObject({
          code: "open/damaged-head",
        });
        const guest = await openGuest(bytesSource(damaged), { partial: true });
        expect((await pagesOf(guest)).pages, where).toEqual(pages);
        expect(guest.vcpus, where).toEqual(whole.vcpus);
        expect(guest.arch.name, where).toBe(name);
        expect(guest.facts.pageSize, where).toBe(block);
        expect(guest.facts.name, where).toBeUndefined();
        expect(
          guest.rescue?.lost.map(({ start }) => start),
          where,
        ).toEqual([0, 0]);
      }
  });

  it("has all pages where the sub-header is lost as well, and says that its machine is a guess", async () => {
    for (const name of ["arm", "s390x"]) {
      const bytes = await plainDump(name);
      const { pages } = await pagesOf(await openGuest(bytesSource(bytes), { partial: true }));
      for (const fill of ["zeros", "noise"] as const) {
        const guest = await openGuest(bytesSource(withoutHead(bytes, 8192, fill)), { partial: true });
        expect((await pagesOf(guest)).pages).toEqual(pages);
        expect(guest.facts.archIsGuess).toBe(true);
        expect(guest.vcpus).toEqual([]);
      }
    }
  });

  it("is extracted by the command line", async () => {
    const bytes = await plainDump("i386");
    const [whole, damaged] = ["whole.kdump", "damaged.kdump"].map((name) => path.join(place.folder, name));
    fs.writeFileSync(whole ?? "", bytes);
    fs.writeFileSync(damaged ?? "", withoutHead(bytes, 4096, "noise"));
    const outputs = [whole, damaged].map((input = "") => {
      const output = `${input}.lime`;
      expect(runCli(["extract", "--partial", input, output]).status).toBe(0);
      return fs.readFileSync(output);
    });
    expect(outputs[1]?.equals(outputs[0] ?? Buffer.alloc(0))).toBe(true);
    const { status, stdout } = runCli(["verify", damaged ?? ""]);
    expect([status, stdout]).toEqual([1, expect.stringContaining("open/damaged-head")]);
  });

  it("is seen in no other input whose head is lost, nor in part of a dump", async () => {
    const others = {
      ...seeds.xenStreams(),
      ...seeds.legacyStreams(),
      ...seeds.qemuStreams(),
      ...seeds.libvirtSaves(),
      ...seeds.qcow2Images(),
      ...(await seeds.elfVmcores()),
      ...(await seeds.limes()),
      ...(await seeds.xenCores()),
      ...(await seeds.avmls()),
      "table without bitmaps": (await plainDump("arm")).subarray(12_288),
      noise: withoutHead(Buffer.alloc(0), 1 << 20, "noise"),
      zeros: Buffer.alloc(1 << 20),
    };
    for (const [name, bytes] of Object.entries(others))
      for (const size of [16, 4096]) {
        const damaged = withoutHead(Buffer.from(bytes), Math.min(size, bytes.length), "noise");
        expect(await kdump.matchesDamaged?.(bytesSource(damaged)), `${name} ${size}`).toBe(false);
      }
  });
});

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
