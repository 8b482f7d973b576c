import * as fs from "node:fs";
import * as path from "node:path";
import { startChromium } from "./browser.js";
import { serveFolder } from "./static-server.js";

/**
 * `npm run screenshots [-- FILE…]`: pictures of each view, 1280 and 400 pixels wide, light and dark, in `screenshots/`.
 * Without files it shows the sample that comes with the viewer.
 */
const VIEWS = [
  "overview",
  "map",
  "map?form=square",
  "hex?space=physical&at=0x1000",
  "processors",
  "linux",
  "linux?tab=tasks",
  "linux?tab=system",
  "file",
  "findings",
  "compare",
  "export",
];
const WIDTHS = [1280, 400];
const HEIGHT = 860;
/** Until pictures of contents have filled. */
const SETTLE_MS = 1200;

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
    else await page.getByRole("button", { name: "Try the sample" }).click();
    await page.waitForSelector(".overview-head, main .problem");
    for (const view of VIEWS) {
      await page.evaluate((to) => {
        location.hash = `1/${to}`;
      }, view);
      await page.waitForSelector("main .waiting", { state: "detached" });
      await page.waitForTimeout(SETTLE_MS);
      await shoot(view.replaceAll(/[^a-z]+/g, "-").replace(/-space.*$/, ""));
    }
    await page.close();
  }
}
await browser.close();
await server.close();
