import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  avmls,
  elfVmcores,
  envelopes,
  type Inputs,
  kdumps,
  legacyStreams,
  libvirtSaves,
  limes,
  qcow2Images,
  qemuStreams,
  xenCores,
  xenStreams,
} from "../../fuzz/seeds.js";
import { Random } from "../../fuzz/random.js";
import {
  fixtures,
  hasProgram,
  hasShared,
  runCli,
  scratch,
  sharedData,
  skipUnless,
  unzstd,
} from "../../test/shared.js";
import { drop, exported, goTo, lacksChromium, pick, shownBytes, Viewer } from "./viewer-page.js";

const { folder, cleanup } = scratch();
let viewer: Viewer;

/** What a sample needs that a machine may lack. */
type Need = "shared data" | "lz4" | "lzop" | "xz" | "zstd" | "bzip2";
type Sample = readonly [kind: string, make: () => string | Promise<string>, need?: Need];

const unzipped = (name: string): string => {
  const file = path.join(folder, path.basename(name, ".gz"));
  fs.writeFileSync(file, gunzipSync(fs.readFileSync(path.join(fixtures, name))));
  return file;
};
const made =
  (all: () => Inputs | Promise<Inputs>, name: string): (() => Promise<string>) =>
  async () => {
    const bytes = (await all())[name];
    if (bytes === undefined) throw new Error(`nothing is made as '${name}'`);
    const file = path.join(folder, `${all.name}-${name}`);
    fs.writeFileSync(file, bytes);
    return file;
  };
const legacy = (): string => unzipped("demo/web01.legacy.gz");
/** The legacy save in another form. */
const turned =
  (command: string, name: string, ...options: readonly string[]): (() => string) =>
  () => {
    const file = path.join(folder, name);
    expect(runCli([command, "-q", "--force", ...options, legacy(), file])).toMatchObject({ status: 0 });
    return file;
  };
const packed =
  (program: string, extension: string): (() => string) =>
  () => {
    const file = path.join(folder, `web01.legacy.${extension}`);
    fs.writeFileSync(file, execFileSync(program, ["-c", legacy()], { maxBuffer: 1 << 28 }));
    return file;
  };
const shared =
  (name: string): (() => string) =>
  () =>
    unzstd(path.join(sharedData, name), folder);

/** Samples of every kind that a browser reads alone. */
const SAMPLES: readonly Sample[] = [
  ["a legacy Xen save", legacy],
  ["a legacy Xen save of a PV guest", () => unzipped("xen-legacy/pv64-xsmall.legacy.gz")],
  ["a legacy stream with compressed checkpoints", () => unzipped("xen-legacy/hvm64-remus-comp.legacy.gz")],
  ["an xl save, version 3", turned("convert", "web01-3.save")],
  ["an xl save, version 2", turned("convert", "web01-2.save", "--to", "v2")],
  ["a bare libxc stream, big endian", made(xenStreams, "pv-2-libxc")],
  ["a save of xapi", made(envelopes, "xapi-libxl")],
  ["a libvirt save of libxl's", made(envelopes, "libvirt")],
  ["a Xen save, HVM", shared("xen-v3/hvm64.save.zst"), "shared data"],
  ["a Xen save, PV", shared("xen-v3/pv64.save.zst"), "shared data"],
  ["a live migration's stream", shared("xen-v3/hvm64-live.stream.zst"), "shared data"],
  ["a Xen core", shared("xen-v3/hvm64.core.zst"), "shared data"],
  ["a Xen core that was written here", made(xenCores, "plain")],
  ["a QEMU stream with compressed pages", () => unzipped("qemu-migration/tiny-compress.qevm.gz")],
  ["a QEMU stream with several rounds", made(qemuStreams, "rounds")],
  ["a save of libvirt", () => path.join(fixtures, "libvirt-save/nodes-and-dimm.save")],
  ["a compressed save of libvirt", made(libvirtSaves, "gzip")],
  ["a qcow2 image with a saved state", made(qcow2Images, "v3")],
  ["a qcow2 image with extended L2 entries", made(qcow2Images, "extended")],
  ["an ELF vmcore, aarch64", () => unzipped("vmcore/machines/aarch64.elf.gz")],
  ["an ELF vmcore, big endian", () => unzipped("vmcore/machines/s390x.elf.gz")],
  ["an ELF vmcore that was written here", made(elfVmcores, "plain")],
  ["a flattened kdump", () => unzipped("vmcore/machines/i386.flat.gz")],
  ["a flattened kdump, lzo", () => unzipped("vmcore/tiny-split.lzo.flat.gz")],
  ["a filtered kdump of Linux", shared("kdump/linux.zlib-d31.kdump.zst"), "shared data"],
  ["a kdump, zstd", made(kdumps, "zstd")],
  ["a kdump of a Xen guest", turned("extract", "web01.kdump", "--to", "kdump")],
  ["an ELF vmcore of a Xen guest", turned("extract", "web01.elf", "--to", "elf")],
  ["a LiME dump", made(limes, "plain")],
  ["an AVML dump", made(avmls, "two")],
  ["a PV legacy stream that was made", made(legacyStreams, "pv64")],
  ["a save packed by gzip", () => path.join(fixtures, "demo/web01.legacy.gz")],
  ["a save packed by zstd", packed("zstd", "zst"), "zstd"],
  ["a save packed by xz", packed("xz", "xz"), "xz"],
  ["a save packed by lz4", packed("lz4", "lz4"), "lz4"],
  ["a save packed by bzip2", packed("bzip2", "bz2"), "bzip2"],
  ["a save packed by lzop", packed("lzop", "lzo"), "lzop"],
];

interface Region {
  readonly start: number;
  readonly end: number;
}

interface Inspected {
  readonly guest?: { readonly name?: string };
  readonly memory?: { readonly regions: readonly Region[] };
  readonly vcpus?: readonly unknown[];
}

interface Verified {
  readonly inputs: readonly {
    readonly valid: boolean;
    readonly findings: readonly { readonly code: string; readonly message: string }[];
  }[];
}

const json = (...args: readonly string[]): unknown => JSON.parse(runCli(args).stdout);

/** A document without what depends on where its file is. */
function plain(document: Readonly<Record<string, unknown>>): unknown {
  const { $schema: _schema, source: _source, ...rest } = document;
  return JSON.parse(JSON.stringify(rest).replaceAll(`${folder}/`, "").replaceAll(`${fixtures}/`, ""));
}

const ROWS = 16;

/** The bytes of a few rows as `read` prints them, or undefined where they aren't all there. */
function printedBytes(file: string, address: number): string | undefined {
  const args = [`0x${address.toString(16)}`, "--length", String(16 * ROWS)];
  const { status, stdout } = runCli(["read", file, ...args]);
  if (status !== 0) return undefined;
  const rows = stdout.matchAll(/^[0-9a-f]+:\s+((?:[0-9a-f]{2,4} ?)+) /gm);
  return Array.from(rows, ([, digits = ""]) => digits.replaceAll(" ", "")).join("");
}

/** An address at random in the regions of a guest, a multiple of a page's quarter. */
function someAddress(regions: readonly Region[], random: Random): number {
  const region = random.pick(regions);
  if (region === undefined) return 0;
  return region.start + random.below((region.end - region.start) / 1024) * 1024;
}

async function expectOverview(page: Page, file: string, inspected: Inspected): Promise<void> {
  await goTo(page, "1/overview");
  await page.waitForSelector(".overview-head");
  expect(await page.locator("h1").textContent()).toBe(inspected.guest?.name ?? path.basename(file));
  const processors = page.locator(".tile", { hasText: "Processors" }).locator("strong");
  expect(await processors.textContent()).toBe(String(inspected.vcpus?.length ?? 0));
}

async function expectFindings(page: Page, file: string): Promise<void> {
  const [verified] = (json("verify", "--json", file) as Verified).inputs;
  await goTo(page, "1/findings");
  await page.waitForSelector("main .verdict");
  const messages = await page.locator("main .toolbar ~ .finding-list .finding-message").allTextContents();
  expect(messages.map((text) => text.replace(/^\w+: /, ""))).toEqual(
    verified?.findings.map(({ message }) => message),
  );
  expect(await page.locator(".verdict.good").count()).toBe(verified?.valid === true ? 1 : 0);
}

beforeAll(async () => {
  if (!lacksChromium) viewer = await Viewer.start();
});
afterAll(async () => {
  await viewer?.close();
  cleanup();
});

describe.skipIf(lacksChromium)("every kind of sample in a browser", () => {
  const opened = SAMPLES.map(([kind, make, need], i) => ({ kind, make, need, isDropped: i % 2 === 0, i }));

  it.each(opened)(
    "shows of $kind what inspect and verify print, and the bytes that read prints",
    async ({ make, need, isDropped, i }) => {
      const isThere =
        need === undefined || (need === "shared data" ? hasShared && hasProgram("zstd") : hasProgram(need));
      if (skipUnless(isThere, need ?? "")) return;
      const file = await make();
      const page = await viewer.open();
      await (isDropped ? drop(page, file) : pick(page, file));
      const inspected = json("inspect", "--json", file) as Inspected;
      const document = JSON.parse((await exported(page, "Everything as JSON")).toString());
      expect(plain(document)).toEqual(plain({ ...inspected }));
      await expectOverview(page, file, inspected);
      await expectFindings(page, file);
      const address = someAddress(inspected.memory?.regions ?? [], new Random(i));
      const known = printedBytes(file, address);
      const shown = await shownBytes(page, address, ROWS);
      if (known === undefined) expect(shown).not.toMatch(/^[0-9a-f]+$/);
      else expect(shown).toBe(known);
      await page.close();
    },
  );

  it("asked nobody but its own server", () => viewer.expectQuiet());
});
