import type { ArgumentParser, Namespace } from "argparse";
import type { Kernel } from "../linux/kernel.js";
import type { Task } from "../linux/tasks.js";
import { taskOf } from "../linux/where.js";
import { UsageError } from "../findings/errors.js";
import type { KernelDocument } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, withKernel } from "./kernel-input.js";
import { printJson } from "./terminal.js";

/** Prints the document of a command that looks into a Linux guest. */
export function printKernelJson<Kind extends KernelDocument["kind"]>(
  kernel: Kernel,
  { input }: KernelArguments,
  kind: Kind,
  parts: Omit<
    Extract<KernelDocument, { readonly kind: Kind }>,
    "schemaVersion" | "kind" | "source" | "release" | "troubles"
  >,
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

/** The process or thread of a number as users give it. @throws UsageError when it is none, or the guest has none */
export async function givenTask(kernel: Kernel, pid: string): Promise<Task> {
  if (!/^\d{1,10}$/.test(pid)) throw new UsageError(`${pid} is no number of a process`);
  return taskOf(kernel, Number(pid));
}

/** Arguments of a command about one process. */
export interface ProcessArguments extends KernelArguments {
  readonly pid: string;
}

/** Options of a command about one process, and its number. */
export function addProcessOptions(parser: ArgumentParser): void {
  addKernelOptions(parser);
  parser.add_argument("pid", { metavar: "PID", help: "the process" });
}

/** Opens INPUT's kernel and finds the process that the arguments name, for `use`. */
export function withProcess(
  args: Namespace,
  use: (kernel: Kernel, task: Task, options: ProcessArguments) => Promise<number>,
): Promise<number> {
  const options = args as ProcessArguments;
  return withKernel(args, async (kernel) => use(kernel, await givenTask(kernel, options.pid), options));
}
