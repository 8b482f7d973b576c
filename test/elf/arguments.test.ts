import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { programArguments } from "../../src/elf/arguments.js";
import { ProcessCore } from "../../src/elf/core.js";
import { AT_EXECFN } from "../../src/elf/layout.js";
import { openFile } from "../../src/io/node/files.js";
import { LiveProcess } from "../../src/io/node/process-memory.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const cores = path.join(sharedData, "qemu-core");
const skip = skipUnless(hasShared && hasProgram("zstd"), "../shared/data/qemu-core and zstd");
const open = (name: string): Promise<ProcessCore> =>
  ProcessCore.open(openFile(unzstd(path.join(cores, name, "core.zst"), folder, { name })));

describe.skipIf(skip)("the arguments on the stack of a core", () => {
  it.each(["tiny-pc", "tiny-gcore", "q35split", "v10-tiny-split"])(
    "%s: those it was started with",
    async (name) => {
      const meta = JSON.parse(fs.readFileSync(path.join(cores, name, "meta.json"), "utf8")) as {
        machine_args: string[];
      };
      const core = await open(name);
      expect(await programArguments(core, core.auxv)).toEqual(meta.machine_args);
    },
  );

  it("are undefined where the core is cut before the stack", async () => {
    const core = await open("tiny-pagetrunc");
    expect(await programArguments(core, core.auxv)).toBeUndefined();
  });

  it("and where the auxiliary vector is of another process or leads nowhere", async () => {
    const core = await open("tiny-pc");
    const other = new Map(core.auxv);
    other.set(16, 1n);
    expect(await programArguments(core, other)).toBeUndefined();
    for (const address of [0n, 8n, 1n << 40n, 2n ** 64n - 1n])
      expect(await programArguments(core, new Map(core.auxv).set(AT_EXECFN, address))).toBeUndefined();
    expect(await programArguments(core, new Map())).toBeUndefined();
  });
});

const live = skipUnless(fs.existsSync("/proc/self/mem"), "/proc");

describe.skipIf(live)("the arguments of a running process", () => {
  it("with empty ones, long ones and those in other letters", async () => {
    const args = ["-e", "setInterval(() => {}, 1000)", "", "ä,ß=日本", "x".repeat(100_000), "-m"];
    const child = spawn(process.execPath, args, { stdio: "ignore", env: { A: "", B: "y".repeat(50_000) } });
    try {
      await expect
        .poll(() => fs.readFileSync(`/proc/${child.pid ?? 0}/cmdline`).length)
        .toBeGreaterThan(100_000);
      const memory = new LiveProcess(child.pid ?? 0);
      try {
        expect(await programArguments(memory, memory.auxv)).toEqual([process.execPath, ...args]);
      } finally {
        memory.close();
      }
    } finally {
      child.kill("SIGKILL");
    }
  });
});
