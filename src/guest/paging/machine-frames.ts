import { firstIndex } from "../../binary/search.js";
import type { GuestImage } from "../image.js";
import { PAGE_SIZE } from "../memory.js";

/** Runs of frames that follow one another in the machine as well as in the guest. */
interface Run {
  readonly machine: number;
  readonly frame: number;
  count: number;
}

/** Runs kept: a guest scattered over more pieces than this is not translated beyond them. */
const MOST_RUNS = 1 << 22;

/** The guest's own frame of a machine frame, for a PV guest whose page tables hold machine frames. */
export function machineFrames(guest: GuestImage): (machine: number) => number | undefined {
  let runs: Run[] | undefined;
  return (machine) => {
    const known = (runs ??= runsOf(guest));
    const run = known[firstIndex(known.length, (i) => (known[i]?.machine ?? 0) > machine) - 1];
    if (run === undefined || machine >= run.machine + run.count) return undefined;
    return run.frame + machine - run.machine;
  };
}

function runsOf(guest: GuestImage): Run[] {
  const runs: Run[] = [];
  let last: Run | undefined;
  for (const range of guest.memory.ranges()) {
    if (range.presence === "absent") continue;
    for (let frame = Math.floor(range.start / PAGE_SIZE); frame * PAGE_SIZE < range.end; frame += 1) {
      const machine = guest.machineFrame?.(frame);
      if (machine === undefined) continue;
      if (last !== undefined && machine === last.machine + last.count && frame === last.frame + last.count) {
        last.count += 1;
        continue;
      }
      if (runs.length === MOST_RUNS) return runs.sort((a, b) => a.machine - b.machine);
      last = { machine, frame, count: 1 };
      runs.push(last);
    }
  }
  return runs.sort((a, b) => a.machine - b.machine);
}
