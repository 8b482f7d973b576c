import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { CHROMIUM, startChromium } from "../scripts/browser.js";
import { serveFolder } from "../scripts/static-server.js";
import { missing, record } from "./figures.js";
import { inMemory } from "./harness.js";
import { makeXenStream } from "./make-xen-stream.js";

const root = path.resolve(import.meta.dirname, "..");
const dist = path.join(root, "dist/viewer");
const packed = path.resolve(root, "../shared/data/xen-v3/hvmlinux.save.zst");
const GIB_PAGES = (1 << 30) / 4096;
const FRAMES_MS = 2000;
const ROUNDS = 3;
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

/** A number a round. */
async function inRounds(measure: () => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) values.push(await measure());
  return values;
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

/** What the report says of this bench, and programs that it compares with. */
export const title = "The viewer in Chromium: how soon it answers, how smoothly it moves.";
export const peers = ["chromium"];

/** What an engine's heap holds, its array buffers counted. */
interface HeapUsage {
  readonly usedSize: number;
  readonly embedderHeapUsedSize?: number;
  readonly backingStorageSize?: number;
}

const mebibytes = ({ usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 }: HeapUsage): number =>
  (usedSize + embedderHeapUsedSize + backingStorageSize) / 2 ** 20;

/** MiB that a page and its workers hold, garbage included. */
async function heapOf(page: Page): Promise<number> {
  const devtools = await page.context().newCDPSession(page);
  const ofWorkers = new Promise<number>((resolve) => {
    const found: number[] = [];
    devtools.on("Target.attachedToTarget", ({ sessionId }) => {
      const message = JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" });
      devtools.send("Target.sendMessageToTarget", { sessionId, message }).catch(() => undefined);
    });
    devtools.on("Target.receivedMessageFromTarget", ({ message }) => {
      const { result } = JSON.parse(message) as { result?: HeapUsage };
      if (result === undefined) return;
      found.push(mebibytes(result));
      if (found.length === page.workers().length) resolve(found.reduce((sum, one) => sum + one, 0));
    });
  });
  await devtools.send("Target.setAutoAttach", {
    autoAttach: true,
    waitForDebuggerOnStart: false,
    flatten: false,
  });
  const ofPage: HeapUsage = await devtools.send("Runtime.getHeapUsage");
  const all = mebibytes(ofPage) + (await ofWorkers);
  await devtools.detach();
  return all;
}

/** The viewer in Chromium: how soon it answers, how smoothly it moves. */
export async function run(): Promise<void> {
  const size = firstLoad() / 1024;
  record({ name: "first load, packed", values: [size], unit: "KB", most: 300 });
  if (!fs.existsSync(CHROMIUM)) {
    missing("the viewer in a browser", CHROMIUM);
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
      const overviews: number[] = [];
      const tasks: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        await page.goto(`${server.url}?${round}`);
        const overview = await secondsTo(page, save, ".overview-head");
        const began = performance.now();
        await page.evaluate(() => {
          location.hash = "1/linux?tab=tasks";
        });
        await page.waitForSelector(".task-row .task-command");
        overviews.push(overview);
        tasks.push(overview + (performance.now() - began) / 1000);
      }
      record({ name: "200 MB Xen save to overview", values: overviews, unit: "s", most: 1.5 });
      record({ name: "… to the task list", values: tasks, unit: "s", most: 3 });
      await page.evaluate(() => {
        location.hash = "1/hex?space=physical&at=0x1000000";
      });
      await page.waitForSelector(".b-zero, .b-text, .b-other");
      const hex = await inRounds(() => framesWhileTurning(page, ".hex-box", 90));
      record({ name: "scrolling the bytes", values: hex, unit: "frames/s", least: 50 });
      await page.evaluate(() => {
        location.hash = "1/map";
      });
      await page.waitForSelector(".strip canvas");
      const map = await inRounds(() => framesWhileTurning(page, ".strip canvas", -60));
      record({ name: "zooming the map", values: map, unit: "frames/s", least: 50 });
      const heap = await heapOf(page);
      record({ name: "heap of page and worker", values: [heap], unit: "MiB", most: 300 });
    }
    const holes = path.join(folder, "holes");
    makeXenStream(holes, { pages: 32 * GIB_PAGES, holes: true });
    const large = await inRounds(async () => {
      await page.goto(`${server.url}?again`);
      await page.reload();
      return secondsTo(page, holes, ".overview-head");
    });
    record({ name: "32 GiB sparse Xen stream to overview", values: large, unit: "s", most: 5 });
    const heap = await heapOf(page);
    record({ name: "… heap of page and worker", values: [heap], unit: "MiB", most: 300 });
  });
  await browser.close();
  await server.close();
}
