import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { type Browser, type Page } from "playwright-core";
import { expect } from "vitest";
import { CHROMIUM, startChromium } from "../../scripts/browser.js";
import { serveFolder } from "../../scripts/static-server.js";
import { projectRoot, skipUnless } from "../../test/shared.js";

/** For `describe.skipIf`: says once what is left out where there is no browser. */
export const lacksChromium: boolean = skipUnless(fs.existsSync(CHROMIUM), "chromium");

/** The built viewer on a web server, a browser that opens it, and what both were asked and complained of. */
export class Viewer {
  readonly browser: Browser;
  readonly #server: Awaited<ReturnType<typeof serveFolder>>;
  readonly #requests: string[] = [];
  readonly #faults: string[] = [];

  private constructor(browser: Browser, server: Awaited<ReturnType<typeof serveFolder>>) {
    this.browser = browser;
    this.#server = server;
  }

  static async start(): Promise<Viewer> {
    return new Viewer(await startChromium(), await serveFolder(path.join(projectRoot, "dist/viewer")));
  }

  /** A new page; what it asks the network for and what goes wrong in it is kept. */
  async open(url = this.#server.url): Promise<Page> {
    const page = await this.browser.newPage({ viewport: { width: 1280, height: 860 } });
    // a loaded machine is slow, not wrong
    page.setDefaultTimeout(60_000);
    page.on("request", (request) => this.#requests.push(request.url()));
    page.on("pageerror", (error) => this.#faults.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") this.#faults.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  /** Faults that a test causes on purpose. */
  expectFault(text: string): void {
    this.#faults.splice(0, this.#faults.length, ...this.#faults.filter((fault) => !fault.includes(text)));
  }

  /** That nobody but the page's own server was asked, and nothing went wrong in any page. */
  expectQuiet(): void {
    expect(this.#requests.length).toBeGreaterThan(10);
    const others = this.#requests.filter(
      (url) => !url.startsWith(this.#server.url) && !/^(data|blob):/.test(url),
    );
    expect(others).toEqual([]);
    expect(this.#faults).toEqual([]);
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.#server.close();
  }
}

/** Goes to an address after `#`. */
export const goTo = (page: Page, hash: string): Promise<void> =>
  page.evaluate((to) => {
    location.hash = to;
  }, hash);

/** Opens files by the picker and waits for what is shown of the last. */
export async function pick(page: Page, ...files: readonly string[]): Promise<void> {
  await page.locator("#picker").setInputFiles([...files]);
  await page.waitForSelector(".overview-head, main .problem");
}

/** Drops a file on the page: through an input element, for no page can make a File of a path. */
export async function drop(page: Page, file: string): Promise<void> {
  await page.evaluate(() => {
    const input = document.createElement("input");
    input.type = "file";
    input.id = "to-drop";
    document.body.append(input);
  });
  await page.locator("#to-drop").setInputFiles(file);
  await page.evaluate(() => {
    const input = document.querySelector<HTMLInputElement>("#to-drop");
    const transfer = new DataTransfer();
    for (const one of input?.files ?? []) transfer.items.add(one);
    window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
    input?.remove();
  });
  await page.waitForSelector(".overview-head, main .problem");
}

/** What an entry of Export saves through the browser's downloads. */
export async function exported(page: Page, title: string): Promise<Buffer> {
  await goTo(page, "1/export");
  const item = page.locator(".export-item", { hasText: title });
  const [download] = await Promise.all([page.waitForEvent("download"), item.locator("button").click()]);
  return fs.readFileSync(await download.path());
}

/** The bytes of rows as they are shown: hexadecimal without spaces, or why there are none. */
export async function shownBytes(page: Page, address: number, rows = 1): Promise<string> {
  const digits = address.toString(16).padStart(8, "0");
  await goTo(page, `1/hex?space=physical&at=0x${address.toString(16)}`);
  const first = page.locator(".hex-row", { hasText: new RegExp(`^0*${digits}`) });
  await first.first().waitFor();
  await page.locator(".hex-row .b-pending").first().waitFor({ state: "detached" });
  const shown = await page.locator(".hex-row").evaluateAll(
    (all, start) => {
      const from = all.findIndex((row) => row.textContent?.replace(/^0*/, "").startsWith(start));
      return all.slice(from).map((row) => row.querySelector(".hex-bytes")?.textContent ?? "");
    },
    address === 0 ? "" : address.toString(16),
  );
  return shown.slice(0, rows).join("").replaceAll(/\s/g, "");
}

/** `guestscope view` as a program of its own. */
export class ViewProgram {
  readonly child: ChildProcess;
  readonly url: string;

  private constructor(child: ChildProcess, url: string) {
    this.child = child;
    this.url = url;
  }

  static async start(...args: readonly string[]): Promise<ViewProgram> {
    const main = path.join(projectRoot, "dist/cli/main.js");
    const child = spawn(process.execPath, [main, "view", "--no-open", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout.once("data", (data: Buffer) => resolve(data.toString().split("\n")[0] ?? ""));
      child.once("exit", () => reject(new Error("it ended")));
    });
    return new ViewProgram(child, url);
  }

  /** Ends it as Ctrl-C does; the signal it died of. */
  async interrupt(): Promise<NodeJS.Signals | null> {
    const ended = new Promise<NodeJS.Signals | null>((resolve) =>
      this.child.once("exit", (_code, signal) => resolve(signal)),
    );
    this.child.kill("SIGINT");
    return ended;
  }
}
