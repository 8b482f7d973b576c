import type { GuestImage } from "../guest/image.js";
import type { SystemSummary } from "../guest/kernel/system-summary.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import { openKernel } from "./kernel.js";
import { readPanicMessage } from "./panic.js";
import { systemOf } from "./system.js";

/** Nanoseconds since 1970 as `2026-11-21T10:18:46Z`; undefined for no possible date. */
export function isoDate(nanoseconds: number): string | undefined {
  const at = new Date(nanoseconds / 1e6);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString().replace(/\.\d+Z$/, "Z");
}

/** Says in short what a guest was, from its own memory; undefined when it ran no Linux that is known here. */
export async function summarizeLinux(guest: GuestImage): Promise<SystemSummary | undefined> {
  try {
    const kernel = await openKernel(guest);
    const { release, banner, hostName, commandLine, clock, load, cpus, memory, taint, hung, missing } =
      await systemOf(kernel);
    const panic = await readPanicMessage(kernel).catch(ignoreMissing);
    const known = {
      release,
      banner,
      hostName,
      commandLine,
      bootTime: clock === undefined ? undefined : isoDate(clock.wall - clock.uptime),
      savedAt: clock === undefined ? undefined : isoDate(clock.wall),
      uptime: clock === undefined ? undefined : clock.uptime / 1e9,
      load,
      memory: memory === undefined ? undefined : { total: memory.total, free: memory.free },
      taint: taint?.letters,
      panic,
      hungTasks: hung?.length,
      missing: Object.keys(missing).length === 0 ? undefined : missing,
    };
    const told = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
    return { ...told, cpus: cpus.length };
  } catch (error) {
    return ignoreMissing(error);
  }
}

/** What is not in the input, or is damaged there, leaves a part out. */
function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
  return undefined;
}
