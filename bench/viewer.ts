import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { CHROMIUM, startChromium } from "../scripts/browser.js";
import { serveFolder } from "../scripts/static-server.js";
import { inMemory, record } from "./harness.js";
import { makeXenStream } from "./make-xen-stream.js";

const root = path.resolve(import.meta.dirname, "..");
const dist = path.join(root, "dist/viewer");
const packed = path.resolve(root, "../shared/data/xen-v3/hvmlinux.save.zst");
const GIB_PAGES = (1 << 30) / 4096;
const FRAMES_MS = 2000;
/** What takes longer has missed its bar. */
const PATIENCE_MS = 20_000;

/** What the start page loads, packed as a web server sends it: the page, its script, its styles, its icon. */
function firstLoad(): number {
  const page = fs.readFileSync(path.join(dist, "index.html"), "utf8");
  const files = Array.from(page.matchAll(/(?:src|href)="\.\/([^"]+)"/g), ([, name = ""]) => name);
  return ["index.html", ...files].reduce(
    (sum, name) => sum + gzipSync(fs.readFileSync(path.join(dist, name))).length,
    0,
  );
}

/** Seconds from the drop of a file to a selector. */
async function secondsTo(page: Page, file: string, selector: string): Promise<number> {
  const began = performance.now();
  await page.locator("#picker").setInputFiles(file);
  const isThere = await page.waitForSelector(selector, { timeout: PATIENCE_MS }).catch(() => undefined);
  return isThere === undefined ? Number.POSITIVE_INFINITY : (performance.now() - began) / 1000;
}

/** Frames a second while the wheel turns over an element. */
async function framesWhileTurning(page: Page, selector: string, deltaY: number): Promise<number> {
  return page.evaluate(
    async ({ selector: wanted, deltaY: turn, ms }) => {
      const element = document.querySelector(wanted);
      const { left, top, width, height } = element?.getBoundingClientRect() ?? new DOMRect();
      let frames = 0;
      const began = performance.now();
      while (performance.now() - began < ms) {
        await new Promise(requestAnimationFrame);
        frames += 1;
        const way = Math.floor(frames / 40) % 2 === 0 ? turn : -turn;
        const init = { deltaY: way, clientX: left + width / 3, clientY: top + height / 2 };
        element?.dispatchEvent(new WheelEvent("wheel", { ...init, bubbles: true, cancelable: true }));
      }
      return (frames * 1000) / (performance.now() - began);
    },
    { selector, deltaY, ms: FRAMES_MS },
  );
}

/** The viewer in Chromium: how soon it answers, how smoothly it moves. */
export async function run(): Promise<void> {
  const size = firstLoad() / 1024;
  record("viewer: first load, packed", `${size.toFixed(0)} KB`, "bar under 300 KB", size < 300);
  if (!fs.existsSync(CHROMIUM)) {
    process.stdout.write(`*** SKIPPED: ${CHROMIUM} is not on this machine ***\n`);
    return;
  }
  const server = await serveFolder(dist);
  const browser = await startChromium();
  await inMemory(async (folder) => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    await page.goto(server.url);
    if (fs.existsSync(packed)) {
      const save = path.join(folder, "hvmlinux.save");
      execFileSync("zstd", ["-q", "-d", "--long=31", packed, "-o", save]);
      const overview = await secondsTo(page, save, ".overview-head");
      record(
        "viewer: 200 MB Xen save to overview",
        `${overview.toFixed(2)} s`,
        "bar under 1.5 s",
        overview < 1.5,
      );
      const began = performance.now();
      await page.evaluate(() => {
        location.hash = "1/linux?tab=tasks";
      });
      await page.waitForSelector(".task-row .task-command");
      const tasks = overview + (performance.now() - began) / 1000;
      record("viewer: … to the task list", `${tasks.toFixed(2)} s`, "bar under 3 s", tasks < 3);
      await page.evaluate(() => {
        location.hash = "1/hex?space=physical&at=0x1000000";
      });
      await page.waitForSelector(".b-zero, .b-text, .b-other");
      const hex = await framesWhileTurning(page, ".hex-box", 90);
      record("viewer: scrolling the bytes", `${hex.toFixed(0)} frames/s`, "bar 50", hex >= 50);
      await page.evaluate(() => {
        location.hash = "1/map";
      });
      await page.waitForSelector(".strip canvas");
      const map = await framesWhileTurning(page, ".strip canvas", -60);
      record("viewer: zooming the map", `${map.toFixed(0)} frames/s`, "bar 50", map >= 50);
      const heap = await page.evaluate(
        () =>
          (performance as unknown as { memory: { usedJSHeapSize: number } }).memory.usedJSHeapSize / 2 ** 20,
      );
      record("viewer: heap of the page", `${heap.toFixed(0)} MiB`, "bar under 300 MiB", heap < 300);
    }
    const holes = path.join(folder, "holes");
    makeXenStream(holes, { pages: 32 * GIB_PAGES, holes: true });
    await page.goto(`${server.url}?again`);
    const large = await secondsTo(page, holes, ".overview-head");
    record(
      "viewer: 32 GiB sparse Xen stream to overview",
      `${large.toFixed(2)} s`,
      "bar under 5 s",
      large < 5,
    );
  });
  await browser.close();
  await server.close();
}
