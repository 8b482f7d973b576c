import type { Kernel } from "./kernel.js";
import { absent, LINUX_RULES } from "./rules.js";
import { findMember } from "./types.js";

/** A kernel's clocks at its last timer tick. */
export interface KernelClock {
  /** Nanoseconds since 1970. */
  readonly wall: number;
  /** Nanoseconds since boot, time asleep included, as /proc/uptime counts. */
  readonly uptime: number;
  /** Nanoseconds since boot, time asleep not included. */
  readonly monotonic: number;
  /** Ticks a second (HZ). */
  readonly hz?: number;
}

const SECOND = 1e9;

/**
 * Reads the kernel's timekeeper. Its values are of the last tick (up to some milliseconds old, more when idle).
 *
 * @throws AbsentError when symbols or types are missing.
 */
export async function kernelClock(kernel: Kernel): Promise<KernelClock> {
  const address = kernel.symbol("tk_core") ?? kernel.symbol("timekeeper_data");
  if (address === undefined) throw absent(LINUX_RULES.noSymbol, "the kernel's symbols have no tk_core");
  const tkData = kernel.types?.find("struct", "tk_data");
  const place = tkData === undefined ? undefined : findMember(tkData, "timekeeper");
  // struct { seqcount_t seq; struct timekeeper timekeeper; }, which has no name before 6.13
  const offset = place === undefined ? 8 : place.bitOffset / 8;
  const keeper = await kernel.load("timekeeper", address + BigInt(offset));
  const base = keeper.which("tkr_mono", "tkr") ?? "tkr_mono";
  const fraction = Number(
    keeper.pointer(`${base}.xtime_nsec`) >> BigInt(keeper.number(`${base}.shift`) & 63),
  );
  const wall = keeper.number("xtime_sec") * SECOND + fraction;
  const monotonic =
    wall + keeper.number("wall_to_monotonic.tv_sec") * SECOND + keeper.number("wall_to_monotonic.tv_nsec");
  const tick = keeper.has("ntp_tick") ? Number(keeper.pointer("ntp_tick") >> 32n) : 0;
  return {
    wall,
    monotonic,
    uptime: monotonic + (keeper.numberOf("offs_boot") ?? 0),
    ...(tick > 0 ? { hz: Math.round(SECOND / tick) } : {}),
  };
}
