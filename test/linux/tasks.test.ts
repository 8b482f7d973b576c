import { describe, expect, it } from "vitest";
import { openKernel } from "../../src/linux/kernel.js";
import { listModules } from "../../src/linux/modules.js";
import { processMemory } from "../../src/linux/process.js";
import { listTasks, type Task } from "../../src/linux/tasks.js";
import type { ProcessMemory } from "../../src/linux/process.js";
import { fixturePath, GUESTS, openFixture, poked, readTruth, type TruthTask } from "./fixture.js";

async function all(kernel: Awaited<ReturnType<typeof openKernel>>): Promise<(Task & ProcessMemory)[]> {
  const tasks: (Task & ProcessMemory)[] = [];
  for await (const task of listTasks(kernel, { threads: true }))
    tasks.push({ ...task, ...(await processMemory(kernel, task)) });
  return tasks;
}

/** A task in the shape of the truth. */
function inShape(task: Task & ProcessMemory, like: TruthTask): TruthTask {
  return {
    pid: task.pid,
    tgid: task.tgid,
    ppid: task.ppid,
    comm: task.comm,
    state: task.stateNumber,
    kthread: task.kthread,
    uid: task.uid ?? -1,
    task: task.address.toString(16),
    ...(like.cpu === undefined ? {} : { cpu: task.cpu ?? -1 }),
    ...(like.on_cpu === undefined ? {} : { on_cpu: task.onCpu ? 1 : 0 }),
    start_time: task.startTime ?? -1,
    utime: task.utime,
    stime: task.stime,
    cmdline: task.commandLine ?? [],
  };
}

describe.each(GUESTS)("tasks of %s", (name) => {
  it("are those that drgn lists with debug info, with every value", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const tasks = await all(kernel);
    const truth = readTruth(fixturePath(`${name}.tasks.json.gz`)).tasks;
    const byPid = new Map(tasks.map((task) => [task.pid, task]));
    const found = truth.map((like) => {
      const task = byPid.get(like.pid);
      return task === undefined ? undefined : inShape(task, like);
    });
    const withoutStacks = truth.map((task) => ({ ...task, stack: undefined }));
    expect(found).toEqual(withoutStacks);
    expect(tasks.length).toBe(truth.length);
    expect(kernel.troubles).toEqual([]);
    await guest.close?.();
  });

  it("are followed by idle tasks on request, one for each CPU", async () => {
    const guest = await openFixture(name);
    const idle: Task[] = [];
    for await (const task of listTasks(await openKernel(guest), { idle: true }))
      if (task.idle) idle.push(task);
    expect(idle.map(({ pid, comm }) => [pid, comm])).toEqual(guest.vcpus.map((_, i) => [0, `swapper/${i}`]));
    await guest.close?.();
  });
});

describe("modules", () => {
  it.each(["arm64-6.12", "panic-6.1"])("of %s are those that drgn lists", async (name) => {
    const guest = await openFixture(name);
    const modules = await listModules(await openKernel(guest));
    const truth = readTruth(fixturePath(`${name}.tasks.json.gz`)).modules ?? [];
    expect(truth.length).toBeGreaterThan(10);
    expect(modules.map((module) => [module.name, module.address.toString(16)])).toEqual(
      truth.map((module) => [module.name, module.address]),
    );
    await guest.close?.();
  });
});

describe("damaged lists of tasks", () => {
  /** The list with the link of the task at `index` set to what `value` gives. */
  async function relinked(
    index: number,
    value: (addresses: readonly bigint[]) => bigint,
  ): Promise<{
    readonly pids: readonly number[];
    readonly codes: readonly string[];
    readonly whole: number;
  }> {
    const guest = await openFixture("hvmlinux-6.1");
    const kernel = await openKernel(guest);
    const tasks = await all(kernel);
    const links = tasks.map(({ object }) => object.addressOf("tasks"));
    const gpa = await kernel.space.translate(links[index] ?? 0n);
    const bad = await openKernel(poked(guest, gpa ?? -1, value(links)));
    const pids = (await all(bad)).map(({ pid }) => pid);
    await guest.close?.();
    return { pids, codes: bad.troubles.map(({ code }) => code), whole: tasks.length };
  }

  it("that run in a loop end and say so", async () => {
    const { pids, codes } = await relinked(20, (links) => links[5] ?? 0n);
    expect(pids.length).toBe(21);
    expect(codes).toEqual(["linux/structure/damaged"]);
  });

  it("that end in NULL give what was reached", async () => {
    const { pids, codes } = await relinked(20, () => 0n);
    expect(pids.length).toBe(21);
    expect(codes).toEqual(["linux/structure/damaged"]);
  });

  it("that lead to unmapped memory give what was reached", async () => {
    const { pids, codes } = await relinked(20, () => 0xffff_1234_5678_9abcn);
    expect(pids.length).toBe(21);
    expect(codes).toContain("linux/memory/absent");
  });
});
