import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mutate } from "../../fuzz/mutate.js";
import { Random, seedOf } from "../../fuzz/random.js";
import {
  avmls,
  elfVmcores,
  envelopes,
  kdumps,
  legacyStreams,
  libvirtSaves,
  limes,
  qcow2Images,
  qemuStreams,
  xenCores,
  xenStreams,
} from "../../fuzz/seeds.js";
import { fixtures, hasShared, scratch, sharedData, skipUnless } from "../../test/shared.js";
import { goTo, lacksChromium, pick, shownBytes, Viewer } from "./viewer-page.js";

const { folder, cleanup } = scratch();
const sample = path.join(folder, "web01.legacy");
let viewer: Viewer;

beforeAll(async () => {
  if (lacksChromium) return;
  fs.writeFileSync(sample, gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz"))));
  viewer = await Viewer.start();
});
afterAll(async () => {
  await viewer?.close();
  cleanup();
});

/** Waits until a file is opened and checked as far as it can be; the codes of what is wrong, as they are shown. */
async function problemsOf(page: Page): Promise<readonly string[]> {
  await page.waitForSelector(".overview-head, main .problem");
  await page.waitForSelector("main progress", { state: "detached" });
  const opening = await page.locator("main .problem code").allTextContents();
  await goTo(page, "1/findings");
  await page.waitForSelector("main .verdict, main .problem, main .findings > p");
  return [...opening, ...(await page.locator("main .problem code, main .finding code").allTextContents())];
}

/** Opens a damaged file, looks at it in every view and closes it. */
async function survives(page: Page, file: string): Promise<void> {
  await page.locator("#picker").setInputFiles(file);
  const codes = await problemsOf(page);
  expect([path.basename(file), codes.filter((code) => code.includes("internal"))]).toEqual([
    path.basename(file),
    [],
  ]);
  for (const view of ["processors", "file"]) {
    await goTo(page, `1/${view}`);
    await page.waitForSelector("main section.view, main .problem, main .waiting");
  }
  await page.locator(".tab button").click();
  await page.waitForSelector(".tab", { state: "detached" });
}

describe.skipIf(lacksChromium)("bad input in a browser", () => {
  it("is shown as far as it is intact, and leaves the page usable, whatever is damaged", async () => {
    const groups = [xenStreams, legacyStreams, envelopes, qemuStreams, libvirtSaves, qcow2Images];
    const outputs = [elfVmcores, kdumps, limes, xenCores, avmls];
    const inputs = await Promise.all([...groups, ...outputs].map(async (make) => make()));
    const seeds = inputs.flatMap((group) =>
      Object.entries(group).map(([name, bytes]) => ({ name, bytes, fields: [] })),
    );
    const page = await viewer.open();
    for (const [i, seed] of seeds.entries()) {
      const file = path.join(folder, `${i}-${seed.name}`);
      fs.writeFileSync(file, mutate(seed, seeds, new Random(seedOf(seed.name, i))));
      await survives(page, file);
    }
    await pick(page, sample);
    await page.waitForSelector(".health.good, .health.fair");
    await page.close();
  });

  it.skipIf(skipUnless(hasShared, "shared data"))("is shown of every file of the fuzz corpus", async () => {
    const corpus = path.join(sharedData, "fuzz");
    const page = await viewer.open();
    for (const name of fs.readdirSync(corpus).filter((one) => one.endsWith(".bin")))
      await survives(page, path.join(corpus, name));
    await page.close();
  });

  it("that changes while it is open is said to have, and is read again once it is chosen again", async () => {
    const file = path.join(folder, "changing.legacy");
    fs.copyFileSync(sample, file);
    const page = await viewer.open();
    await pick(page, file);
    await page.waitForSelector(".health.good, .health.fair, .health.bad");
    // longer, later: not the file that was chosen, though the page keeps all that it read of that
    fs.appendFileSync(file, "more");
    fs.utimesSync(file, new Date(), new Date(Date.now() + 5000));
    // what was looked at counts as the same for a second
    await page.waitForTimeout(1200);
    await goTo(page, "1/hex?space=file&at=0x3000");
    await page.waitForSelector("main [role=alert]");
    expect(await page.locator("main [role=alert]").first().textContent()).toMatch(/changed or went away/);
    fs.rmSync(file);
    await goTo(page, "1/hex?space=file&at=0x100000");
    await page.waitForSelector("main [role=alert]");
    expect(await page.locator("main [role=alert]").first().textContent()).toMatch(/changed or went away/);
    await page.locator("#picker").setInputFiles(sample);
    await page.waitForSelector(".health.good, .health.fair");
    await page.close();
  });

  it("whose names hold markup shows them as text", async () => {
    const { "hvm64-xl": bytes = new Uint8Array(0) } = legacyStreams();
    const name = "<b id=x>";
    const at = Buffer.from(bytes).indexOf('{"c_info":{"name":"g"}}');
    const config = `{"c_info":{"name":"${name}"}}`;
    const made = Buffer.concat([
      bytes.subarray(0, at),
      Buffer.from(config),
      bytes.subarray(at + '{"c_info":{"name":"g"}}'.length),
    ]);
    // the length of the optional data, and of the configuration in it
    made.writeUInt32LE(made.readUInt32LE(44) + name.length - 1, 44);
    made.writeUInt32LE(made.readUInt32LE(48) + name.length - 1, 48);
    const file = path.join(folder, "<i id=y>&amp;.save");
    fs.writeFileSync(file, made);
    const page = await viewer.open();
    await pick(page, file);
    expect(await page.locator("h1").textContent()).toBe(name);
    expect(await page.locator(".tab").textContent()).toContain("<i id=y>&amp;.save");
    for (const view of ["overview", "map", "hex", "file", "findings", "export"]) {
      await goTo(page, `1/${view}`);
      await page.waitForSelector("main section.view");
      expect(await page.locator("#x, #y").count()).toBe(0);
    }
    await page.close();
  });

  it("of very many equal bytes: hits are counted and listed, and the page stays small", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    await goTo(page, "1/hex?space=physical&at=0x0");
    await page.locator(".search input").fill("00 00");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() =>
      /\d,\d+ places$/.test(document.querySelector(".search [role=status]")?.textContent ?? ""),
    );
    await page.waitForSelector(".hex-hits [role=option]");
    expect(await page.locator(".hex-hits [role=option]").count()).toBeLessThan(100);
    expect(await page.locator("*").count()).toBeLessThan(3000);
    await page.locator(".hex-hits [role=listbox]").focus();
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !/at=0x0($|&)/.test(location.hash));
    await page.close();
  });

  it("goes on after a worker that dies, with what was shown", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    await page.waitForSelector(".health.good, .health.fair");
    const [worker] = page.workers();
    await worker?.evaluate(() => {
      setTimeout(() => {
        throw new Error("made to die");
      }, 0);
    });
    await page.waitForSelector("main .problem");
    expect(await shownBytes(page, 0x3000)).toMatch(/^[0-9a-f]{32}$/);
    await page.getByRole("button", { name: "Try again" }).click();
    await page.waitForSelector("main .problem", { state: "detached" });
    await page.close();
    viewer.expectFault("made to die");
  });

  it("asked nobody but its own server", () => viewer.expectQuiet());
});
