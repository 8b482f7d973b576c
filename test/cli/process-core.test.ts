import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import type { ProcessFacts } from "../../src/elf/process-facts.js";
import type { QemuCoreInspection } from "../../src/qemu/core/inspect.js";
import { afterAll, describe, expect, it } from "vitest";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

describe("a core without debug information", () => {
  it.skipIf(skipUnless(hasShared, "shared data"))(
    "of QEMU still shows what its notes hold, then how to go on, a line each",
    () => {
      const core = unzstd(path.join(sharedData, "qemu-core/tiny-gcore/core.zst"), folder, { name: "core" });
      const run = runCli(["inspect", "--debug-dir", folder, core]);
      expect(run.status).toBe(1);
      expect(run.stdout).toMatch(/program +\S*qemu-system-x86_64\n +build id +e493ee90/);
      expect(run.stdout).toMatch(/threads +4\n/);
      expect(run.stdout).toMatch(/0x[0-9a-f]+ +8\.0 MiB +\d+% +likely/);
      const hints = run.stderr.trimEnd().split("\n").slice(1);
      for (const hint of [/^ {2}looked at/, /-dbgsym/, /DEBUGINFOD_URLS/, /^ {2}--debug-file FILE/])
        expect(hints.filter((line) => hint.test(line))).not.toEqual([]);
    },
  );

  it.skipIf(skipUnless(hasShared, "shared data"))(
    "gives its facts as data too, with guest RAM among what looks like it",
    () => {
      const core = unzstd(path.join(sharedData, "qemu-core/tiny-gcore/core.zst"), folder, { name: "core" });
      const unread = runCli(["inspect", "--json", "--debug-dir", folder, core]);
      const document = JSON.parse(unread.stdout) as {
        kind: string;
        error: { code: string; hints: string[] };
        process: ProcessFacts;
      };
      expect(document).toMatchObject({
        kind: "error",
        error: { code: "debug-file/none" },
        process: { threads: 4, mayBeQemu: true },
      });
      expect(document.error.hints.length).toBeGreaterThan(2);
      const debug = unzstd(path.join(sharedData, "qemu-core/debug/qemu-system-x86_64.debug.zst"), folder);
      const read = runCli(["inspect", "--json", "--debug-file", debug, core]);
      const { details } = JSON.parse(read.stdout) as QemuCoreInspection;
      const hosts = details.ramBlocks.filter(({ id }) => id === "pc.ram").map(({ host }) => host);
      const likely = document.process.largeMappings.filter(({ likelyRam }) => likelyRam);
      expect(likely.map(({ address }) => Number(address))).toEqual(expect.arrayContaining(hosts));
    },
  );

  it("of a running program is read from /proc", () => {
    const sleeper = spawn("sleep", ["100"]);
    try {
      const name = `pid:${String(sleeper.pid)}`;
      const run = runCli(["inspect", "--json", name]);
      expect(run.status).toBe(1);
      expect(JSON.parse(run.stdout)).toMatchObject({
        error: {
          message: expect.stringMatching(/^a process of \S*(sleep|coreutils|busybox)\S*, not of QEMU$/),
        },
        process: { commandLine: "sleep 100", threads: 1, mayBeQemu: false },
      });
      expect(runCli(["inspect", name]).stdout).toMatch(/command line +sleep 100\n/);
    } finally {
      sleeper.kill();
    }
  });

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
