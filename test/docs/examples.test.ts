import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pagesWithOutput, prepareSamples, withOutputs } from "../../scripts/console-blocks.js";
import { projectRoot, runCli, scratch } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
beforeAll(() => {
  prepareSamples(folder);
  expect(runCli(["convert", "web01.legacy", "web01.save"], { cwd: folder }).status).toBe(0);
});

describe("real output in the pages", () => {
  it.each(pagesWithOutput())("%s shows what the commands print (npm run docs)", (name) => {
    const { folder: place, cleanup: remove } = scratch();
    prepareSamples(place);
    const page = fs.readFileSync(path.join(projectRoot, name), "utf8");
    expect(page).toBe(withOutputs(page, place));
    remove();
  });
});

describe("the programs in examples/", () => {
  const programs: readonly (readonly [name: string, args: readonly string[], prints: RegExp])[] = [
    ["inspect.mjs", ["web01.save"], /Xen migration stream.*legacy-hvm64-remus-xl 1 vCPUs/],
    ["memory.mjs", ["web01.save", "0x10000"], /^64 bytes at 0x10000: [0-9a-f]{128}\n$/],
    ["registers.mjs", ["web01.save"], /^0 rip 0x0\n$/],
    ["to-kdump.mjs", ["web01.save", "web01.kdump"], /bytes of memory written, 0 were not/],
    ["verify.mjs", ["web01.save"], /Xen migration stream: valid/],
  ];

  it("are all known here", () => {
    expect(fs.readdirSync(path.join(projectRoot, "examples")).sort()).toEqual(programs.map(([name]) => name));
  });

  it.each(programs)("%s", (name, args, prints) => {
    const file = path.join(projectRoot, "examples", name);
    const run = spawnSync(process.execPath, [file, ...args], { cwd: folder, encoding: "utf8" });
    expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 0, stderr: "" });
    expect(run.stdout).toMatch(prints);
  });
});
