import type { Result } from "../jobs/outcome.js";
import type { Task } from "../jobs/task.js";
import type { TaskRunner } from "../worker/run-task.js";

/** Jobs that are looked up or written while as many others compute. */
const AHEAD = 2;

/** How tasks are run without a queue. */
export interface LocalOptions {
  /** Jobs at the same time. */
  readonly concurrency: number;
  readonly onResult: (result: Result, fresh: boolean) => void;
  /** No more tasks are begun. */
  readonly signal: AbortSignal;
}

/**
 * Runs tasks on this machine as they come. What has a result is passed over, so that an ended run can be taken up
 * again by the same call.
 * @throws SystemError when the report or an output can't be written
 */
export async function runLocally(
  tasks: AsyncIterable<Task>,
  runner: TaskRunner,
  options: LocalOptions,
): Promise<void> {
  const active = new Map<string, Promise<void>>();
  let failed: unknown;
  const run = async (task: Task): Promise<void> => {
    try {
      const ending = await runner.run(task, true);
      if ("result" in ending) options.onResult(ending.result, ending.fresh);
    } catch (error) {
      failed ??= error;
    } finally {
      active.delete(task.key);
    }
  };
  for await (const task of tasks) {
    if (failed !== undefined || options.signal.aborted) break;
    if (active.has(task.key)) continue;
    active.set(task.key, run(task));
    while (active.size >= options.concurrency * AHEAD) await Promise.race(active.values());
  }
  await Promise.all(active.values());
  if (failed !== undefined) throw failed;
}
