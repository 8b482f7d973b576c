import type { GuestImage } from "../../guest/image.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { withChosenVmcoreInfo } from "../../guest/kernel/chosen-vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import { LiveProcess } from "../../io/node/process-memory.js";
import { type ProcessFacts, processFacts } from "../../elf/process-facts.js";
import type { Process } from "../../qemu/core/guest.js";

/** How a running process is opened. */
export interface ProcessOptions extends OpenOptions {
  /** Stop the process (SIGSTOP) while it is open; it is resumed whatever happens. */
  readonly stop?: boolean;
}

const qemu = (): Promise<typeof import("../../qemu/core/open.js")> => import("../../qemu/core/open.js");

const processOf = (live: LiveProcess): Process => ({ memory: live, auxv: live.auxv });

/**
 * Opens the guest of a running QEMU. Its memory is read from /proc as it is asked for: without `stop` it changes meanwhile.
 * The guest's `close` gives the process back.
 * @throws UsageError, SystemError when there is no such process or it can't be read; FormatError, AbsentError as for cores
 */
export async function openProcess(pid: number, options: ProcessOptions = {}): Promise<GuestImage> {
  const live = new LiveProcess(pid, { stop: options.stop === true });
  try {
    const opened = await (await qemu()).openQemuGuest(processOf(live), "running QEMU process", options);
    const guest = await withChosenVmcoreInfo(opened, options.vmcoreInfo);
    return {
      ...guest,
      close: async () => {
        try {
          await guest.close?.();
        } finally {
          live.close();
        }
      },
    };
  } catch (error) {
    live.close();
    throw error;
  }
}

/** Describes the guest of a running QEMU; the process is given back before it returns. @throws as `openProcess` */
export async function inspectProcess(pid: number, options: ProcessOptions = {}): Promise<GuestInspection> {
  const live = new LiveProcess(pid, { stop: options.stop === true });
  try {
    return await (await qemu()).inspectProcess(processOf(live), "process", options);
  } finally {
    live.close();
  }
}

/** What /proc shows of a process, which needs no debug information. @throws SystemError as `openProcess` */
export async function readProcessFacts(pid: number): Promise<ProcessFacts> {
  const live = new LiveProcess(pid);
  try {
    return await processFacts(live, live.auxv, live.describe());
  } finally {
    live.close();
  }
}
