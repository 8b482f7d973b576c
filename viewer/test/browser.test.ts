import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../src/io/byte-source.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { openFile } from "../../src/io/node/files.js";
import { openGuest } from "../../src/open/open.js";
import { fixtures, runCli, scratch } from "../../test/shared.js";
import { drop, goTo, lacksChromium, pick, shownBytes, Viewer } from "./viewer-page.js";

const { folder, cleanup } = scratch();
const sample = path.join(folder, "web01.legacy");
const packed = path.join(fixtures, "demo/web01.legacy.gz");
const vmcore = path.join(folder, "aarch64.elf");
let viewer: Viewer;

beforeAll(async () => {
  if (lacksChromium) return;
  fs.writeFileSync(sample, gunzipSync(fs.readFileSync(packed)));
  fs.writeFileSync(
    vmcore,
    gunzipSync(fs.readFileSync(path.join(fixtures, "vmcore/machines/aarch64.elf.gz"))),
  );
  viewer = await Viewer.start();
});
afterAll(async () => {
  await viewer?.close();
  cleanup();
});

describe.skipIf(lacksChromium)("the viewer in a browser", () => {
  it("opens a file by the picker and shows what inspect --json tells", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    const inspection = JSON.parse(runCli(["inspect", "--json", sample]).stdout) as {
      guest: { name: string };
    };
    expect(await page.locator("h1").textContent()).toBe(inspection.guest.name);
    await page.waitForSelector(".health.good, .health.fair");
    const verification = JSON.parse(runCli(["verify", "--json", sample]).stdout) as {
      inputs: readonly { valid: boolean; notes: number }[];
    };
    expect(verification.inputs[0]?.valid).toBe(true);
    await page.close();
  });

  it("opens a file that is dropped, and a packed one", async () => {
    const page = await viewer.open();
    await drop(page, packed);
    expect(await page.locator("h1").textContent()).toBe("legacy-hvm64-remus-xl");
    await page.close();
  });

  it("reads a packed file on after damage, and says what is lost", async () => {
    const page = await viewer.open();
    const plain = fs.readFileSync(sample);
    const half = plain.length >> 1;
    const members = [plain.subarray(0, half), plain.subarray(half)].map((part) => gzipSync(part));
    const file = Buffer.concat(members);
    const middle = (members[0]?.length ?? 0) >> 1;
    file.fill(0x55, middle, middle + 100);
    const damaged = path.join(folder, "damaged.legacy.gz");
    fs.writeFileSync(damaged, file);
    await pick(page, damaged);
    expect(await page.locator("h1").textContent()).toBe("legacy-hvm64-remus-xl");
    await page.waitForSelector(".health.bad");
    const overview = await page.locator("main").textContent();
    expect(overview).toContain("an unknown number of bytes unpacked");
    // what comes after the damage is there
    const whole = await openGuest(bytesSource(plain));
    const opened = await openRandomAccess(bytesSource(file), { keepTorn: true });
    const rescued = await openGuest(opened.source, { partial: true });
    const last = [...rescued.memory.ranges()].findLast(({ presence }) => presence === "present");
    const address = last?.start ?? -1;
    const known = new Uint8Array(16);
    expect(await whole.memory.read(address, known)).toBe(16);
    expect(await shownBytes(page, address)).toBe(Buffer.from(known).toString("hex"));
    opened.close();
    await page.close();
  });

  it("shows the bytes that the library reads", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    const source = openFile(sample);
    const guest = await openGuest(source);
    for (const address of [0, 0x1000, 0x5_a000, 0x12_3450]) {
      const known = new Uint8Array(16);
      const n = await guest.memory.read(address, known);
      if (n < 16) continue;
      expect(await shownBytes(page, address)).toBe(Buffer.from(known).toString("hex"));
    }
    source.close();
    await page.close();
  });

  it("can be used by the keyboard alone, and every view has an address", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    const views = ["overview", "map", "hex", "processors", "linux", "file", "findings", "compare", "export"];
    for (const [i, view] of views.entries()) {
      await page.keyboard.press(String(i + 1));
      await page.waitForFunction((name) => location.hash.startsWith(`#1/${name}`), view);
      await page.waitForSelector("main section.view, main .problem");
    }
    await page.keyboard.press("?");
    await page.waitForSelector("dialog[open]");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog:not([open])", { state: "attached" });
    await page.keyboard.press("3");
    await page.waitForSelector(".hex-box");
    await page.keyboard.press("g");
    await page.keyboard.type("0x2000");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => location.hash.includes("at=0x2000"));
    // the address is in the hash before the rows are drawn
    await page.waitForSelector(".hex-box[aria-label*='0x2000']:focus");
    await page.keyboard.press("ArrowDown");
    await page.waitForFunction(() => location.hash.includes("at=0x2010"));
    await page.goBack();
    await page.close();
  });

  it("moves and zooms the map by the keyboard and opens the bytes from there", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    await goTo(page, "1/map");
    const canvas = page.locator(".strip canvas");
    await canvas.focus();
    await page.keyboard.press("ArrowRight");
    const before = await page.locator(".window-text").textContent();
    await page.keyboard.press("+");
    await page.waitForFunction(
      (text) => document.querySelector(".window-text")?.textContent !== text,
      before,
    );
    await page.keyboard.press("Enter");
    await page.waitForSelector(".hex-box");
    await page.close();
  });

  it("searches memory, finds what is there and marks it on the map", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    await goTo(page, "1/hex?space=physical&at=0x0");
    const source = openFile(sample);
    const guest = await openGuest(source);
    const known = new Uint8Array(8);
    await guest.memory.read(0x3_0000, known);
    source.close();
    await page.locator(".search input").fill(
      Buffer.from(known)
        .toString("hex")
        .replaceAll(/(..)(?=.)/g, "$1 "),
    );
    await page.keyboard.press("Enter");
    await page.waitForFunction(() =>
      /\d places?$/.test(document.querySelector(".search [role=status]")?.textContent ?? ""),
    );
    expect(await page.locator(".search [role=status]").textContent()).not.toBe("0 places");
    await page.close();
  });

  it("compares two files", async () => {
    const page = await viewer.open();
    await pick(page, sample, sample);
    await goTo(page, "1/compare");
    await page.waitForSelector(".compare-numbers");
    await page.waitForFunction(() => document.querySelector(".compare [role=status]")?.textContent === "");
    expect(await page.locator(".compare-numbers strong").first().textContent()).toBe("0 B");
    await page.close();
  });

  it("shows what is wrong with bad input and stays usable", async () => {
    const page = await viewer.open();
    const bad = path.join(folder, "<img src=x onerror=alert(1)>.save");
    fs.writeFileSync(bad, "not a saved guest");
    await pick(page, bad);
    expect(await page.locator("main .problem").first().textContent()).toContain("open/unknown");
    // a name is text, whatever it holds
    expect(await page.locator("main img, nav img").count()).toBe(0);
    const cut = path.join(folder, "cut.legacy");
    fs.writeFileSync(cut, fs.readFileSync(sample).subarray(0, 1_700_000));
    await page.locator("#picker").setInputFiles([cut]);
    await page.waitForSelector(".health.bad");
    await page.locator("#picker").setInputFiles([vmcore]);
    await page.waitForSelector(".overview-head");
    await page.close();
  });

  it("reports a worker that dies and goes on with a new one", async () => {
    const page = await viewer.open();
    await pick(page, sample);
    await page.waitForSelector(".health.good, .health.fair");
    const worker = page.workers()[0];
    const gone = new Promise((resolve) => worker?.once("close", resolve));
    await worker?.evaluate(() => {
      setTimeout(() => {
        throw new Error("made to die");
      }, 0);
    });
    await gone;
    await page.waitForSelector("main .problem");
    expect(await page.locator("main .problem").first().textContent()).toContain("made to die");
    await goTo(page, "1/processors");
    await page.waitForSelector(".registers");
    await page.close();
    viewer.expectFault("made to die");
  });

  it("is usable at a width of 360 pixels", async () => {
    const page = await viewer.open();
    await page.setViewportSize({ width: 360, height: 740 });
    await pick(page, sample);
    for (const view of ["overview", "map", "hex", "processors", "file", "findings"]) {
      await goTo(page, `1/${view}`);
      await page.waitForSelector("main section.view");
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      expect([view, wide]).toEqual([view, 360]);
    }
    await page.close();
  });

  it("asked nobody but its own server, and nothing went wrong on the way", () => {
    viewer.expectQuiet();
  });
});
