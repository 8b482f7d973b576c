import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serveFolder } from "../../scripts/static-server.js";
import { fixtures, hasProgram, projectRoot, runCli, scratch, skipUnless } from "../../test/shared.js";
import { FIREFOX, Firefox } from "./firefox.js";
import { ViewProgram } from "./viewer-page.js";

const lacksFirefox = skipUnless(fs.existsSync(FIREFOX), "firefox-esr");
const { folder, cleanup } = scratch();
let firefox: Firefox;

beforeAll(async () => {
  if (!lacksFirefox) firefox = await Firefox.start();
});
afterAll(async () => {
  await firefox?.close();
  cleanup();
});

const HEALTH = 'document.querySelector(".health.good, .health.fair") !== null';
const goTo = (hash: string): Promise<unknown> => firefox.evaluate(`location.hash = ${JSON.stringify(hash)}`);

/** The bytes of the row of an address, as they are shown. */
async function shownRow(address: number): Promise<string> {
  const row = `[...document.querySelectorAll(".hex-row")].find((row) => /^0*${address.toString(16)}/.test(row.textContent))`;
  await goTo(`1/hex?space=physical&at=0x${address.toString(16)}`);
  await firefox.until(`${row} !== undefined && document.querySelector(".hex-row .b-pending") === null`);
  return firefox.evaluate(`${row}.querySelector(".hex-bytes").textContent.replaceAll(/\\s/g, "")`);
}

/** The first 16 bytes at an address, as `read` prints them. */
function printedRow(file: string, address: number): string {
  const { stdout } = runCli(["read", file, `0x${address.toString(16)}`, "--length", "16"]);
  return /:\s+((?:[0-9a-f]{2,4} ?)+)/.exec(stdout)?.[1]?.replaceAll(" ", "") ?? "";
}

describe.skipIf(lacksFirefox)("the viewer in Firefox", () => {
  it("opens a file that is picked: overview, findings, bytes", async () => {
    const file = path.join(folder, "web01.legacy");
    fs.writeFileSync(file, gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz"))));
    const server = await serveFolder(path.join(projectRoot, "dist/viewer"));
    try {
      await firefox.goTo(server.url);
      await firefox.until('document.getElementById("picker") !== null');
      await firefox.choose("#picker", file);
      await firefox.until(HEALTH);
      expect(await firefox.evaluate('document.querySelector("h1").textContent')).toBe(
        "legacy-hvm64-remus-xl",
      );
      await goTo("1/findings");
      await firefox.until('document.querySelector("main .verdict.good") !== null');
      expect(await shownRow(0x3000)).toBe(printedRow(file, 0x3000));
    } finally {
      await firefox.goTo("about:blank");
      await server.close();
    }
  });

  it.skipIf(skipUnless(hasProgram("xz"), "xz"))(
    "shows what guestscope view serves: tasks of a guest",
    async () => {
      const guest = path.join(folder, "hvmlinux.elf");
      const packed = path.join(fixtures, "linux/hvmlinux-6.1.elf.xz");
      expect(runCli(["extract", "-q", packed, guest])).toMatchObject({ status: 0 });
      const { tasks } = JSON.parse(runCli(["ps", "--json", guest]).stdout) as {
        tasks: readonly { comm: string }[];
      };
      const program = await ViewProgram.start(guest);
      try {
        await firefox.goTo(program.url);
        await firefox.until(HEALTH);
        await goTo("1/linux?tab=tasks");
        await firefox.until('document.querySelector(".virtual-row .task-command") !== null');
        const shown = await firefox.evaluate<readonly string[]>(
          '[...document.querySelectorAll(".virtual-row .task-command")].map((cell) => cell.textContent)',
        );
        expect(shown.length).toBeGreaterThan(5);
        const names = new Set(tasks.map(({ comm }) => comm));
        for (const text of shown)
          expect([text, [...names].some((name) => text.includes(name))]).toEqual([text, true]);
      } finally {
        await firefox.goTo("about:blank");
        expect(await program.interrupt()).toBe("SIGINT");
      }
    },
  );
});
