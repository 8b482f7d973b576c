import type { Kernel } from "./kernel.js";
import { logSourceOf } from "./log/kernel-log.js";
import { readLog } from "./log/read.js";

const PANIC = /^Kernel panic - not syncing: ?(.*)/;

/**
 * The message of a kernel panic, out of the kernel's log; undefined when it holds none.
 *
 * @throws AbsentError when the log can't be read.
 */
export async function readPanicMessage(kernel: Kernel): Promise<string | undefined> {
  for await (const record of readLog(await logSourceOf(kernel.guest))) {
    const [, message] = PANIC.exec(record.text) ?? [];
    if (message !== undefined) return message.split("\n", 1)[0];
  }
  return undefined;
}
