import { failure, type Outcome } from "../jobs/outcome.js";
import type { Excess, Limits } from "./limits.js";

/** What is reported of an input on which a limit was exceeded. It isn't tried again: it would take as much. */
export function exceeded(excess: Excess, limits: Limits): Outcome {
  return excess === "memory"
    ? failure("fleet/memory-limit", `took more than ${limits.memory} MiB of memory`, "input")
    : failure("fleet/time-limit", `took longer than ${limits.time} s`, "input");
}
