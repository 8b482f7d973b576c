import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { kernelClock } from "../../src/linux/clock.js";
import { type HungTask, hungTasks } from "../../src/linux/hung-tasks.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { systemOf } from "../../src/linux/system.js";
import { listTasks, type Task } from "../../src/linux/tasks.js";
import { openFixture, poked } from "./fixture.js";

const SECOND = 1_000_000_000;

describe("hung tasks", () => {
  let guest: GuestImage;
  let kernel: Kernel;
  /** A process that sleeps. */
  let sleeper: Task;

  beforeAll(async () => {
    guest = await openFixture("panic-6.1");
    kernel = await openKernel(guest);
    const tasks: Task[] = [];
    for await (const task of listTasks(kernel, { threads: true })) tasks.push(task);
    const found = tasks.find(({ state, kthread, onCpu }) => state === "S" && !kthread && !onCpu);
    if (found === undefined) throw new Error("no task sleeps");
    sleeper = found;
  });
  afterAll(async () => guest.close?.());

  /** The guest with eight bytes of a kernel structure changed; `keep` says which of them stay. */
  async function changed(from: GuestImage, address: bigint, value: bigint, keep = 0n): Promise<GuestImage> {
    const place = await kernel.space.translate(address);
    const old = keep === 0n ? 0n : await kernel.pointerAt(address);
    return poked(from, place ?? -1, (old & keep) | value);
  }

  /** What the guest says when that process is in `state`, and last ran `seconds` before the run queues' clock. */
  async function hungIn(state: number, seconds: number, exitState = 0): Promise<readonly HungTask[]> {
    const { object } = sleeper;
    const now = 500 * SECOND;
    const high = 0xffff_ffff_0000_0000n;
    const queue = await kernel.perCpu("runqueues", 0);
    let altered = await changed(guest, queue.addressOf("clock"), BigInt(now));
    altered = await changed(altered, object.addressOf("__state"), BigInt(state), high);
    altered = await changed(altered, object.addressOf("exit_state"), BigInt(exitState), high);
    altered = await changed(altered, object.addressOf("se.exec_start"), BigInt(now - seconds * SECOND));
    const opened = await openKernel(altered);
    const { hung = [] } = await systemOf(opened);
    expect(await hungTasks(opened, await kernelClock(opened))).toEqual(hung);
    return hung.filter(({ pid }) => pid === sleeper.pid);
  }

  it("are none in a guest that is half a minute old", async () => {
    expect((await systemOf(kernel)).hung).toEqual([]);
  });

  it("are those in uninterruptible sleep for more than two minutes", async () => {
    expect(await hungIn(0x2, 200)).toEqual([{ pid: sleeper.pid, comm: sleeper.comm, blocked: 200 * SECOND }]);
    expect(await hungIn(0x2, 119)).toEqual([]);
  });

  it.each([
    ["sleeping", 0x1, 0],
    ["killable", 0x102, 0],
    ["an idle kernel thread", 0x402, 0],
    ["frozen", 0x8002, 0],
    ["a zombie", 0x2, 0x20],
  ])("are not those that are %s", async (_, state, exitState) => {
    expect(await hungIn(state, 400, exitState)).toEqual([]);
  });
});
