import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileMimic, runMimic } from "../../test/qemu/core/mimic.js";
import { fixtures, hasProgram, runCli, scratch, skipUnless } from "../../test/shared.js";
import { goTo, lacksChromium, shownBytes, Viewer, ViewProgram } from "./viewer-page.js";

const { folder, cleanup } = scratch();
const sample = path.join(folder, "web01.legacy");
const packed = path.join(fixtures, "demo/web01.legacy.gz");
let viewer: Viewer;

beforeAll(async () => {
  if (lacksChromium) return;
  fs.writeFileSync(sample, gunzipSync(fs.readFileSync(packed)));
  viewer = await Viewer.start();
});
afterAll(async () => {
  await viewer?.close();
  cleanup();
});

/** Opens what a server offers, hands the page over, and ends both; the server has to end by Ctrl-C. */
async function viewed(args: readonly string[], look: (page: Page) => Promise<void>): Promise<void> {
  const program = await ViewProgram.start(...args);
  try {
    const page = await viewer.open(program.url);
    await page.waitForSelector(".overview-head");
    await look(page);
    await page.close();
  } finally {
    expect(await program.interrupt()).toBe("SIGINT");
  }
}

/** The first bytes of what `read` prints. */
function printed(address: number, ...args: readonly string[]): string {
  const { stdout } = runCli(["read", ...args, `0x${address.toString(16)}`, "--length", "16"]);
  return /:\s+((?:[0-9a-f]{2,4} ?)+)/.exec(stdout)?.[1]?.replaceAll(" ", "") ?? "";
}

describe.skipIf(lacksChromium)("guestscope view in a browser", () => {
  it.each([
    ["a plain file, by its bytes", () => sample],
    ["a packed file, by answers of the server", () => packed],
  ])("shows %s", async (_, input) => {
    await viewed([input()], async (page) => {
      expect(await page.locator("h1").textContent()).toBe("legacy-hvm64-remus-xl");
      await page.waitForSelector(".health.good, .health.fair");
      expect(await shownBytes(page, 0x3000)).toBe(printed(0x3000, sample));
    });
  });

  it("shows a raw image of memory", async () => {
    const raw = path.join(folder, "memory.raw");
    expect(runCli(["extract", "-q", "--to", "raw", "--range", "0-0x200000", sample, raw])).toMatchObject({
      status: 0,
    });
    await viewed(["--format", "raw", raw], async (page) => {
      expect(await page.locator(".overview-head .kind").textContent()).toMatch(/raw/i);
      expect(await shownBytes(page, 0x3000)).toBe(printed(0x3000, "--format", "raw", raw));
    });
  });

  it.each([
    ["is removed", (file: string) => fs.rmSync(file), /404/],
    ["becomes shorter", (file: string) => fs.truncateSync(file, fs.statSync(file).size - 4096), /changed/],
    [
      "is replaced by one of its size and time",
      (file: string) => {
        const { atime, mtime } = fs.statSync(file);
        fs.writeFileSync(`${file}.new`, fs.readFileSync(file).fill(0xee, 0x3000, 0x4000));
        fs.utimesSync(`${file}.new`, atime, mtime);
        fs.renameSync(`${file}.new`, file);
      },
      /changed/,
    ],
  ])("reports a file that %s, whatever the page keeps of it, and opens it again", async (_, change, said) => {
    const file = path.join(folder, "changing.legacy");
    fs.copyFileSync(sample, file);
    const before = fs.readFileSync(file);
    await viewed([file], async (page) => {
      await page.waitForSelector(".health.good, .health.fair");
      await goTo(page, "1/hex?space=file&at=0x3000");
      await page.waitForSelector(".hex-row .hex-bytes");
      change(file);
      // what was looked at counts as the same for a second
      await page.waitForTimeout(1200);
      await goTo(page, "1/hex?space=file&at=0x100000");
      const alert = page.locator("main [role=alert]", { hasText: "changed or went away" });
      await alert.waitFor();
      expect(await alert.textContent()).toMatch(said);
      // another view says so too, and every view stays usable
      await goTo(page, "1/overview");
      await page.waitForSelector(".overview-head");
      expect(await alert.count()).toBe(1);
      if (!fs.existsSync(file)) {
        await alert.locator("button").click();
        await page.waitForFunction(() =>
          /404/.test(document.querySelector("main .problem")?.textContent ?? ""),
        );
        expect(await page.locator(".overview-head").count()).toBe(0);
        fs.writeFileSync(file, before.fill(0xdd, 0x3000, 0x4000));
      }
      await page.locator("main [role=alert] button", { hasText: "Try again" }).first().click();
      await page.waitForSelector(".overview-head");
      await page.waitForSelector("main [role=alert]", { state: "detached" });
      await goTo(page, "1/hex?space=file&at=0x3000");
      const row = page.locator(".hex-row", { hasText: /^0*3000/ }).first();
      await row.waitFor();
      await page.locator(".hex-row .b-pending").first().waitFor({ state: "detached" });
      const there = fs.readFileSync(file).subarray(0x3000, 0x3010).toString("hex");
      expect((await row.locator(".hex-bytes").textContent())?.replaceAll(/\s/g, "")).toBe(there);
    });
    viewer.expectFault("404");
  });

  it("says that its server ended", async () => {
    const program = await ViewProgram.start(packed);
    const page = await viewer.open(program.url);
    await page.waitForSelector(".health.good, .health.fair");
    await program.interrupt();
    await goTo(page, "1/hex?space=physical&at=0x100000");
    await page.waitForSelector("main [role=alert]");
    expect(await page.locator("main [role=alert]").first().textContent()).toMatch(/server/);
    await page.close();
    viewer.expectFault("ERR_CONNECTION_REFUSED");
  });
});

describe.skipIf(
  lacksChromium || skipUnless(hasProgram("gcc") && fs.existsSync("/proc/self/mem"), "gcc, /proc"),
)("guestscope view of QEMU", () => {
  let exe: string;
  let running: { child: ChildProcess; pid: number };

  beforeAll(async () => {
    exe = compileMimic(folder, 702);
    running = await runMimic(exe);
  });
  afterAll(() => {
    running?.child.kill("SIGKILL");
  });

  it("shows a running process", async () => {
    const input = `pid:${running.pid}`;
    await viewed(["--exe", exe, input], async (page) => {
      await page.waitForFunction(() => document.querySelector(".tile strong")?.textContent !== "none");
      expect(await shownBytes(page, 0x1000)).toBe(printed(0x1000, "--exe", exe, input));
    });
  });

  it.skipIf(skipUnless(hasProgram("gcore"), "gcore (gdb)"))("shows a core with its debug file", async () => {
    const core = path.join(folder, "qemu.core");
    const { execFileSync } = await import("node:child_process");
    execFileSync("gcore", ["-o", core, String(running.pid)], { stdio: "ignore" });
    const file = `${core}.${running.pid}`;
    await viewed(["--exe", exe, "--debug-file", exe, file], async (page) => {
      expect(await shownBytes(page, 0x1000)).toBe(printed(0x1000, "--exe", exe, "--debug-file", exe, file));
      const { vcpus } = JSON.parse(
        runCli(["inspect", "--json", "--exe", exe, "--debug-file", exe, file]).stdout,
      ) as { vcpus: readonly unknown[] };
      await goTo(page, "1/overview");
      const processors = page.locator(".tile", { hasText: "Processors" }).locator("strong");
      expect(await processors.textContent()).toBe(String(vcpus.length));
    });
  });
});
