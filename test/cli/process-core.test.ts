import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

describe("a core without debug information", () => {
  it.skipIf(skipUnless(hasShared, "shared data"))(
    "of QEMU still shows what its notes hold, then how to go on",
    () => {
      const core = unzstd(path.join(sharedData, "qemu-core/tiny-gcore/core.zst"), folder, { name: "core" });
      const run = runCli(["inspect", "--debug-dir", folder, core]);
      expect(run.status).toBe(1);
      expect(run.stdout).toMatch(/program +\S*qemu-system-x86_64\n +build id +e493ee90/);
      expect(run.stdout).toMatch(/threads +4\n/);
      expect(run.stdout).toMatch(/% of the pages looked at are in use/);
      expect(run.stderr).toContain("--debug-file");
      const { stdout } = runCli(["inspect", "--json", "--debug-dir", folder, core]);
      expect(JSON.parse(stdout)).toMatchObject({ kind: "error" });
    },
  );

  it.skipIf(skipUnless(hasProgram("gcore"), "gcore (gdb)"))("of another program is said to be one", () => {
    const sleeper = spawn("sleep", ["100"]);
    const made = spawnSync("gcore", ["-o", path.join(folder, "sleep"), String(sleeper.pid)]);
    sleeper.kill();
    expect(made.status).toBe(0);
    const core = path.join(folder, fs.readdirSync(folder).find((name) => name.startsWith("sleep.")) ?? "");
    const run = runCli(["inspect", core]);
    expect(run.status).toBe(1);
    expect(run.stdout).toMatch(/program +\S*sleep\n/);
    expect(run.stderr).toMatch(/a core of \S*sleep, not of QEMU/);
    expect(run.stderr).not.toMatch(/dbgsym|debug info/);
  });
});
