import type { KernelClock } from "./clock.js";
import { cpuList } from "./cpus.js";
import type { Kernel } from "./kernel.js";
import { mayHang } from "./task-state.js";
import { listTasks, type Task } from "./tasks.js";

/** A task that was blocked in the kernel for too long. */
export interface HungTask {
  readonly pid: number;
  readonly comm: string;
  /** Nanoseconds since it last ran. */
  readonly blocked: number;
}

/** Nanoseconds after which the kernel's own detector reports a task. */
const TOO_LONG = 120e9;

/**
 * Tasks that were uninterruptible for more than two minutes, without frozen and idle ones, as the kernel's hung-task
 * detector chooses; how long is by the run queues' clocks.
 *
 * @throws AbsentError when the kernel's symbols or types are missing.
 */
export async function hungTasks(
  kernel: Kernel,
  clock: KernelClock | undefined,
): Promise<readonly HungTask[]> {
  const now = (await cpuList(kernel)).reduce((most, cpu) => Math.max(most, cpu.clock ?? 0), 0);
  const found: HungTask[] = [];
  for await (const task of listTasks(kernel, { threads: true })) {
    if (!mayHang(task.stateNumber) || task.exitState !== 0 || task.frozen) continue;
    const last = lastRun(task);
    if (last === undefined || last === 0) continue;
    const blocked = Math.max(now, clock?.monotonic ?? 0) - last;
    if (blocked > TOO_LONG) found.push({ pid: task.pid, comm: task.comm, blocked });
  }
  return found;
}

/** When a task last ran, by its run queue's clock. */
function lastRun({ object }: Task): number | undefined {
  return object.numberOf("se.exec_start", "sched_info.last_arrival");
}
