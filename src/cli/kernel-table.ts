import type { Kernel } from "../linux/kernel.js";
import type { Task } from "../linux/tasks.js";
import { taskOf } from "../linux/where.js";
import { UsageError } from "../findings/errors.js";
import type { KernelDocument } from "./guest-documents.js";
import type { KernelArguments } from "./kernel-input.js";
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
