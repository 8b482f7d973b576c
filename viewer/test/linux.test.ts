import * as path from "node:path";
import type { Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, hasProgram, runCli, scratch, skipUnless } from "../../test/shared.js";
import { exported, goTo, lacksChromium, pick, Viewer } from "./viewer-page.js";

const { folder, cleanup } = scratch();
const guest = path.join(folder, "hvmlinux.elf");
const lacksXz = skipUnless(hasProgram("xz"), "xz");
let viewer: Viewer;
let page: Page;

const TABS = ["log", "tasks", "modules", "mounts", "network", "structures", "system"];
const VIEWS = ["overview", "map", "hex", "processors", "file", "findings", "compare", "export"];
const PLACES = [...VIEWS, ...TABS.map((tab) => `linux?tab=${tab}`)];

beforeAll(async () => {
  if (lacksChromium || lacksXz) return;
  const packed = path.join(fixtures, "linux/hvmlinux-6.1.elf.xz");
  expect(runCli(["extract", "-q", packed, guest])).toMatchObject({ status: 0 });
  viewer = await Viewer.start();
  page = await viewer.open();
  // tall enough for every row
  await page.setViewportSize({ width: 1280, height: 3000 });
  await pick(page, guest);
});
afterAll(async () => {
  await viewer?.close();
  cleanup();
});

/** Shows a place of the first file and waits until it is there. */
async function show(place: string): Promise<void> {
  await goTo(page, `1/${place}`);
  await page.waitForSelector("main section.view, main .problem");
  await page.waitForSelector("main .waiting", { state: "detached" });
}

/** A node of the accessibility tree, as far as it is looked at. */
interface AxNode {
  readonly ignored: boolean;
  readonly role?: { readonly value?: string };
  readonly name?: { readonly value?: string };
  readonly properties?: readonly { readonly name: string; readonly value: { readonly value?: unknown } }[];
}

describe.skipIf(lacksChromium || lacksXz)("a Linux guest in a browser", () => {
  it("lists the tasks that ps prints", async () => {
    const { tasks } = JSON.parse(runCli(["ps", "--json", guest]).stdout) as {
      tasks: readonly { pid: number; comm: string }[];
    };
    await show("linux?tab=tasks");
    await page.waitForSelector(".task-row .task-command");
    const pids = await page.locator(".virtual-row .task-row > span:first-child").allTextContents();
    const ascending = (all: readonly number[]): number[] =>
      all.filter((pid) => pid > 0).toSorted((a, b) => a - b);
    expect(ascending(pids.map(Number))).toEqual(ascending(tasks.map(({ pid }) => pid)));
  });

  it("goes to a symbol and names it beside its bytes", async () => {
    await show("hex?space=kernel");
    await page.keyboard.press("g");
    await page.keyboard.type("linux_banner");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() =>
      document.querySelector(".readings")?.textContent?.includes("linux_banner"),
    );
    expect(await page.locator(".text-value").textContent()).toMatch(/^Linux version 6/);
  });

  it("follows pointers from structure to structure, by links and by the keyboard, and comes back", async () => {
    const pointer = (name: string, at: string): string =>
      (JSON.parse(runCli(["struct", "--json", guest, name, at]).stdout) as { value: string }).value;
    const { tasks } = JSON.parse(runCli(["ps", "--json", guest]).stdout) as {
      tasks: readonly { pid: number; task: string }[];
    };
    const first = tasks.find(({ pid }) => pid === 1)?.task ?? "";
    const mm = pointer("task_struct.mm", first);
    const nsproxy = pointer("task_struct.nsproxy", pointer("task_struct.real_parent", first));

    /** The row of a pointer of a structure that is shown. */
    const rowOf = (name: string, to: string): Locator =>
      page.locator(".virtual-row .grid-row", { hasText: new RegExp(`[0-9a-f]${name}${to}`) });
    const arrives = (type: string, at: string): Promise<unknown> =>
      page.waitForFunction(
        ([one, two]) =>
          location.hash.includes(`type=${one}&at=${two}`) &&
          document.querySelector("[role=listbox]")?.getAttribute("aria-label")?.endsWith(one) === true,
        [type, at] as const,
      );
    // its 300 rows
    await page.setViewportSize({ width: 1280, height: 9000 });
    await show(`linux?tab=structures&type=task_struct&at=${first}`);
    await arrives("task_struct", first);
    await rowOf("real_parent", "0x").locator("a").click();
    await arrives("task_struct", pointer("task_struct.real_parent", first));
    // the kernel's name of what is there
    expect(await rowOf("nsproxy", nsproxy).locator(".symbol").textContent()).toMatch(/init_nsproxy/);
    await rowOf("nsproxy", nsproxy).locator("a").click();
    await arrives("nsproxy", nsproxy);
    await page.goBack();
    await page.goBack();
    await arrives("task_struct", first);
    await rowOf("mm", mm).locator("code").first().click();
    await page.locator("[role=listbox]").focus();
    await page.keyboard.press("Enter");
    await arrives("mm_struct", mm);
    await page.locator("button[aria-label^='Back']").click();
    await arrives("task_struct", first);
    // what has no type leads to its bytes
    const stack = pointer("task_struct.stack", first);
    await rowOf("stack", stack).locator("a").click();
    await page.waitForFunction((at) => location.hash.includes(`hex?space=kernel&at=${at}`), stack);
    await page.setViewportSize({ width: 1280, height: 3000 });
  });

  it("names everything that takes the focus, in every view, for screen readers", async () => {
    const devtools = await page.context().newCDPSession(page);
    for (const place of PLACES) {
      await show(place);
      const { nodes } = (await devtools.send("Accessibility.getFullAXTree")) as unknown as {
        nodes: readonly AxNode[];
      };
      const nameless = nodes.filter(
        ({ ignored, role, name, properties }) =>
          !ignored &&
          role?.value !== "RootWebArea" &&
          properties?.some((one) => one.name === "focusable" && one.value.value === true) === true &&
          (name?.value ?? "").trim() === "" &&
          // holds the focus after "Skip to the content" only
          role?.value !== "main",
      );
      expect([place, nameless.map(({ role }) => role?.value)]).toEqual([place, []]);
    }
    await devtools.detach();
  });

  it("reaches every control of every view by Tab, and shows where the focus is", async () => {
    await page.setViewportSize({ width: 1280, height: 860 });
    for (const place of ["overview", "map", "hex", "linux?tab=tasks", "linux?tab=structures", "export"]) {
      await show(place);
      await page.evaluate(() => document.getElementById("content")?.focus());
      const seen = new Set<string>();
      for (let i = 0; i < 60; i += 1) {
        await page.keyboard.press("Tab");
        const { mark, ring } = await page.evaluate(() => {
          const element = document.activeElement;
          if (element === null || element === document.body) return { mark: "", ring: true };
          // a field's ring is around its label, a tile's around the tile
          const around = element.closest("label");
          const styles = [
            getComputedStyle(element),
            getComputedStyle(element, "::after"),
            ...(around === null ? [] : [getComputedStyle(around)]),
          ];
          return {
            mark: element.closest("main") === null ? "" : element.outerHTML.slice(0, 300),
            ring: styles.some(
              ({ outlineStyle, boxShadow }) => outlineStyle !== "none" || boxShadow !== "none",
            ),
          };
        });
        expect([place, mark, ring]).toEqual([place, mark, true]);
        if (mark === "") break;
        seen.add(mark);
      }
      expect([place, seen.size > 2]).toEqual([place, true]);
    }
  });

  it.each([
    ["360 pixels", 360, 740],
    ["200 % of 1280 pixels", 640, 430],
  ])("is no wider than the window at %s", async (_, width, height) => {
    await page.setViewportSize({ width, height });
    for (const place of PLACES) {
      await show(place);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      expect([place, wide]).toEqual([place, width]);
    }
    await show("linux?tab=tasks");
    const command = page.locator(".virtual-row .task-command").first();
    expect((await command.boundingBox())?.width ?? 0).toBeGreaterThan(60);
  });

  it("saves a vmcore through the File System Access API as it is made, and else by a download", async () => {
    await page.setViewportSize({ width: 1280, height: 860 });
    // a browser without it; Chromium's own waits for a person
    await page.evaluate(() => Object.assign(globalThis, { showSaveFilePicker: undefined }));
    const downloaded = await exported(page, "Memory as an ELF vmcore");
    await page.evaluate(() => {
      const written: Uint8Array[] = [];
      Object.assign(globalThis, {
        written,
        isClosed: false,
        showSaveFilePicker: async () => ({
          createWritable: async () => ({
            write: async (bytes: Uint8Array) => void written.push(bytes.slice()),
            close: async () => void Object.assign(globalThis, { isClosed: true }),
            abort: async () => undefined,
          }),
        }),
      });
    });
    await page.locator(".export-item", { hasText: "Memory as an ELF vmcore" }).locator("button").click();
    await page.waitForFunction(() => (globalThis as unknown as { isClosed: boolean }).isClosed);
    const { size, sum } = await page.evaluate(async () => {
      const { written } = globalThis as unknown as { written: Uint8Array<ArrayBuffer>[] };
      const bytes = new Uint8Array(await new Blob(written).arrayBuffer());
      return { size: bytes.length, sum: bytes.reduce((a, byte) => (Math.imul(a, 31) + byte) >>> 0, 0) };
    });
    expect(size).toBe(downloaded.length);
    expect(sum).toBe(downloaded.reduce((a, byte) => (Math.imul(a, 31) + byte) >>> 0, 0));
    const { writeFileSync } = await import("node:fs");
    const saved = path.join(folder, "saved.vmcore");
    writeFileSync(saved, downloaded);
    expect(runCli(["verify", "-q", saved])).toMatchObject({ status: 0 });
  });

  it("saves the map as a picture and as a drawing", async () => {
    const picture = await exported(page, "The memory map as a picture");
    expect(picture.subarray(1, 4).toString("latin1")).toBe("PNG");
    const drawing = (await exported(page, "The memory map as a drawing")).toString();
    expect(drawing).toMatch(/^<svg/);
    expect(drawing).not.toMatch(/<script|javascript:/);
  });

  it("asked nobody but its own server", () => viewer.expectQuiet());
});
