import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { projectRoot, runCli, scratch } from "../shared.js";

/** Every `js` block of docs/library.md, by the heading above it. */
const examples = Array.from(
  fs
    .readFileSync(path.join(projectRoot, "docs/library.md"), "utf8")
    .matchAll(/^## (.+)\n[^#]*?^```js\n([\s\S]*?)^```/gm),
  ([, title = "", code = ""]) => ({ title, code }),
);

const { folder, cleanup } = scratch();
const legacy = path.join(folder, "web01.legacy");
const save = path.join(folder, "web01.save");
const linux = path.join(folder, "linux.elf");
// beside package.json, so that the package finds itself by its own name
const scripts = fs.mkdtempSync(path.join(projectRoot, "dist", "examples-"));

beforeAll(() => {
  fs.writeFileSync(
    legacy,
    gunzipSync(fs.readFileSync(path.join(projectRoot, "test/fixtures/demo/web01.legacy.gz"))),
  );
  expect(runCli(["convert", legacy, save]).stderr).not.toMatch(/error/);
  const cutDown = path.join(projectRoot, "test/fixtures/linux/panic-6.1.elf.xz");
  expect(runCli(["extract", "-q", cutDown, linux]).status).toBe(0);
});

afterAll(() => {
  cleanup();
  fs.rmSync(scripts, { recursive: true });
});

const expected: Readonly<Record<string, { input: string; prints: RegExp }>> = {
  Verify: { input: save, prints: /xen-stream valid/ },
  "Open a guest": { input: save, prints: /x86_64[\s\S]*4096/ },
  "Convert a legacy Xen stream": { input: legacy, prints: /\[\]/ },
  "Write a vmcore": { input: save, prints: /\d+ \[/ },
  "Walk the records of a Xen stream": { input: save, prints: /libxc PAGE_DATA[\s\S]*libxl END/ },
  "What was this guest doing?": {
    input: linux,
    prints: /guest-panic 6\.1\.0[\s\S]*CPU 1: init at [\s\S]*end Kernel panic[\s\S]*__schedule\+/,
  },
};

describe("examples of docs/library.md", () => {
  it("are all known here", () => {
    expect(examples.map(({ title }) => title)).toEqual(Object.keys(expected));
  });

  it.each(examples)("$title", ({ title, code }) => {
    const file = path.join(scripts, `${title.replaceAll(/\W/g, "-")}.mjs`);
    fs.writeFileSync(file, code);
    const run = spawnSync(process.execPath, [file, expected[title]?.input ?? ""], { encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
    expect(run.stdout).toMatch(expected[title]?.prints ?? /never/);
  });
});
