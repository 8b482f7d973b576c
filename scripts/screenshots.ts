import * as fs from "node:fs";
import * as path from "node:path";
import type { Page } from "playwright-core";
import { startChromium } from "./browser.js";
import { serveFolder } from "./static-server.js";

/**
 * `npm run screenshots [-- FILE…]`: pictures of each view, 1280 and 400 pixels wide, light and dark, in `screenshots/`;
 * a view that is wider than the window is said to be. Without files it shows the sample that comes with the viewer,
 * twice, so that there is something to compare.
 */
const VIEWS: readonly (readonly [name: string, address: string])[] = [
  ["overview", "overview"],
  ["map", "map"],
  ["map-kinds", "map?show=kind"],
  ["map-changes", "map?show=sends"],
  ["map-square", "map?form=square"],
  ["hex", "hex?space=physical&at=0x1000"],
  ["hex-kernel", "hex?space=kernel&at=0xffffffff82000000"],
  ["hex-file", "hex?space=file&at=0x0&len=16"],
  ["processors", "processors"],
  ["linux-log", "linux"],
  ["linux-tasks", "linux?tab=tasks"],
  ["linux-modules", "linux?tab=modules"],
  ["linux-mounts", "linux?tab=mounts"],
  ["linux-network", "linux?tab=network"],
  ["linux-structures", "linux?tab=structures&type=task_struct&at=init_task"],
  ["linux-system", "linux?tab=system"],
  ["file", "file"],
  ["findings", "findings"],
  ["compare", "compare?with=2"],
  ["export", "export"],
];
const WIDTHS = [1280, 400];
const HEIGHT = 860;
/** Until pictures of contents have filled. */
const SETTLE_MS = 1200;

async function openSample(page: Page): Promise<void> {
  await page.evaluate(() => {
    location.hash = "";
  });
  await page.getByRole("button", { name: "Try the sample" }).click();
  await page.waitForSelector(".overview-head, main .problem");
}

const root = path.resolve(import.meta.dirname, "..");
const folder = path.join(root, "screenshots");
const files = process.argv.slice(2);
fs.mkdirSync(folder, { recursive: true });
const server = await serveFolder(path.join(root, "dist/viewer"));
const browser = await startChromium();
for (const theme of ["light", "dark"] as const) {
  for (const width of WIDTHS) {
    const page = await browser.newPage({ viewport: { width, height: HEIGHT }, colorScheme: theme });
    await page.goto(server.url);
    const shoot = (name: string): Promise<Buffer> =>
      page.screenshot({ path: path.join(folder, `${name}-${width}-${theme}.png`) });
    await shoot("start");
    if (files.length > 0) await page.locator("#picker").setInputFiles(files);
    else for (const _ of [1, 2]) await openSample(page);
    await page.waitForSelector(".overview-head, main .problem");
    for (const [name, address] of VIEWS) {
      await page.evaluate((to) => {
        location.hash = `1/${to}`;
      }, address);
      await page.waitForSelector("main .waiting", { state: "detached" });
      await page.waitForTimeout(SETTLE_MS);
      await shoot(name);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) process.stdout.write(`${name} at ${width} pixels is ${wide} wide\n`);
    }
    await page.close();
  }
}
await browser.close();
await server.close();
