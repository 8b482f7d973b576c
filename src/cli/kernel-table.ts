import type { Kernel } from "../linux/kernel.js";
import { listTasks, type Task } from "../linux/tasks.js";
import { absent, LINUX_RULES } from "../linux/rules.js";
import { UsageError } from "../findings/errors.js";
import type { KernelArguments } from "./kernel-input.js";
import { printJson } from "./terminal.js";

/** Prints the document of a command that looks into a Linux guest. */
export function printKernelJson(
  kernel: Kernel,
  { input }: KernelArguments,
  kind: string,
  parts: Readonly<Record<string, unknown>>,
): void {
  printJson({
    schemaVersion: 1,
    kind,
    source: input,
    ...(kernel.release === undefined ? {} : { release: kernel.release }),
    ...parts,
    troubles: kernel.troubles,
  });
}

/** The task of a number as users give it. @throws UsageError, AbsentError `linux/task/absent` */
export async function taskOf(kernel: Kernel, pid: string): Promise<Task> {
  const number = Number(pid);
  if (!/^\d{1,10}$/.test(pid)) throw new UsageError(`${pid} is no number of a process`);
  for await (const task of listTasks(kernel, { threads: true })) if (task.pid === number) return task;
  throw absent(LINUX_RULES.memory, `the guest has no process ${pid}`);
}
