import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { hasProgram, projectRoot, runCli, scratch, skipUnless } from "../../shared.js";
import { compileMimic, runMimic } from "./mimic.js";

const main = path.join(projectRoot, "dist/cli/main.js");
const skip = skipUnless(
  hasProgram("gcc") && fs.existsSync("/proc/self/mem") && fs.existsSync(main),
  "gcc, /proc and dist/ (npm run build)",
);

/** State of a process as proc(5) has it: S asleep, T stopped. */
const stateOf = (pid: number): string | undefined =>
  /^State:\s+(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];

describe.skipIf(skip)("extract --stop", () => {
  const { folder, cleanup } = scratch();
  let mimic: ChildProcess;
  let pid = 0;

  beforeAll(async () => {
    // more than pipes hold
    ({ child: mimic, pid } = await runMimic(compileMimic(folder, 702, "RAM_PAGES=4096")));
  });
  afterEach(async () => {
    await expect.poll(() => stateOf(pid), { timeout: 10_000 }).toBe("S");
  });
  afterAll(() => {
    mimic.kill("SIGKILL");
    cleanup();
  });

  /** Starts a dump that stands still with the process stopped, because nobody reads it. */
  async function standing(process_ = pid): Promise<ChildProcess> {
    const args = [
      main,
      "extract",
      "-q",
      "--stop",
      `pid:${process_}`,
      "-",
      "--to",
      "raw",
      "--range",
      "0-0x1000000",
    ];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    await once(child.stdout ?? child, "readable");
    expect(stateOf(process_)).toBe("T");
    return child;
  }

  it("lets the process go on when it is done", () => {
    const out = path.join(folder, "whole");
    const run = runCli(["extract", "--stop", `pid:${pid}`, out, "--to", "raw", "--range", "0-0x1000000"]);
    expect(run.status).toBe(0);
    const bytes = fs.readFileSync(out);
    expect([0, 4095, 4096, 0xff_ffff].map((at) => bytes[at])).toEqual([1, 1, 2, 0x00]);
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL"] as const)(
    "and when %s ends it",
    async (signal) => {
      const child = await standing();
      child.kill(signal);
      child.stdout?.resume();
      const [, by] = (await once(child, "exit")) as [number | null, string | null];
      expect(by).toBe(signal);
    },
  );

  it("and when the reader of the output goes away", async () => {
    const child = await standing();
    child.stdout?.destroy();
    await once(child, "exit");
  });

  it("and after an error", () => {
    const run = runCli([
      "extract",
      "--stop",
      `pid:${pid}`,
      path.join(folder, "x"),
      "--debug-file",
      "/dev/null",
    ]);
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain("/dev/null");
  });

  it("tells when the process dies meanwhile", async () => {
    const other = await runMimic(compileMimic(folder, 702, "RAM_PAGES=4096"));
    const child = await standing(other.pid);
    let told = "";
    child.stderr?.on("data", (text: Buffer) => {
      told += text.toString();
    });
    other.child.kill("SIGKILL");
    await once(other.child, "exit");
    child.stdout?.resume();
    expect(await once(child, "close")).toEqual([1, null]);
    expect(told).toContain("ends before memory that it held");
  });

  it("leaves a process that was stopped before as it was", async () => {
    mimic.kill("SIGSTOP");
    await expect.poll(() => stateOf(pid)).toBe("T");
    expect(runCli(["inspect", "--stop", `pid:${pid}`]).status).toBe(0);
    expect(stateOf(pid)).toBe("T");
    mimic.kill("SIGCONT");
  });
});
