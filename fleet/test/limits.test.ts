import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { expect, it } from "vitest";
import { type Excess, type Limits, watch } from "../src/processor/limits.js";
import { lacks } from "./harness.js";

/** Runs a program within limits: what was exceeded, and the signal that ended it. */
async function runWithin(program: string, limits: Limits): Promise<[Excess | undefined, string | null]> {
  const child = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
  const stop = watch(child, limits);
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  return [stop(), signal];
}

const NO_LIMIT = { memory: 1 << 20, time: 60 };

it("a process that hangs in its event loop is killed", async () => {
  expect(await runWithin("for (;;);", { ...NO_LIMIT, time: 1 })).toEqual(["time", "SIGKILL"]);
});

it.skipIf(!fs.existsSync("/proc/self/status") && lacks("/proc"))(
  "a process that takes memory outside its heap is killed",
  async () => {
    const hog = "const kept = []; setInterval(() => kept.push(Buffer.alloc(8 << 20, 1)), 10);";
    expect(await runWithin(hog, { ...NO_LIMIT, memory: 300 })).toEqual(["memory", "SIGKILL"]);
  },
);

it("a process that keeps to its limits is left alone", async () => {
  expect(await runWithin("setTimeout(() => undefined, 600)", NO_LIMIT)).toEqual([undefined, null]);
});
