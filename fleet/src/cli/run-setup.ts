import { ResultStore } from "../report/store.js";
import { removeAbandonedDownloads, TaskRunner } from "../worker/run-task.js";
import { checkRunArguments, type RunArguments } from "./command.js";

/** A runner of jobs as the arguments ask for, with a report that can be written. @throws UsageError, SystemError */
export async function prepareRunner(args: RunArguments): Promise<TaskRunner> {
  checkRunArguments(args);
  const store = new ResultStore(args.reports);
  await store.prepare();
  await removeAbandonedDownloads(args.spool_dir);
  return new TaskRunner({
    store,
    concurrency: args.concurrency,
    limits: { memory: args.memory, time: args.time },
    spool: args.spool_dir,
  });
}

/** Calls back at the first SIGINT, SIGTERM or SIGHUP; the second ends the process as it does by default. */
export function onStopSignal(stop: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, stop);
}
