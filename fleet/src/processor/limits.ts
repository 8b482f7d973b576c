import * as fs from "node:fs";
import type { ChildProcess } from "node:child_process";

/** What one job may use. */
export interface Limits {
  /** MiB of memory of its process. */
  readonly memory: number;
  /** Seconds. */
  readonly time: number;
}

/** Why a process was ended. */
export type Excess = "memory" | "time";

/** Often enough that a process that takes 1 GiB a second exceeds its limit by a quarter of that. */
const INTERVAL_MS = 250;

/**
 * Kills a process that exceeds a limit. A process can't refuse: it need not answer, nor be able to.
 * Where there is no /proc, memory is limited by the options of the process alone.
 * @returns stops watching; tells what was exceeded
 */
export function watch(child: ChildProcess, limits: Limits): () => Excess | undefined {
  let excess: Excess | undefined;
  const kill = (why: Excess): void => {
    excess ??= why;
    child.kill("SIGKILL");
  };
  const late = setTimeout(() => kill("time"), limits.time * 1000);
  const look = setInterval(() => {
    if (child.pid !== undefined && residentMiB(child.pid) > limits.memory) kill("memory");
  }, INTERVAL_MS);
  return () => {
    clearTimeout(late);
    clearInterval(look);
    return excess;
  };
}

/** Memory of a process in MiB, without pages of files that it only maps; 0 when it can't be told. */
export function residentMiB(pid: number): number {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, "latin1");
    const kib = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
    return (kib("RssAnon") + kib("RssShmem")) / 1024;
  } catch {
    return 0;
  }
}

/** Options of Node that make a process with too little memory end by itself. */
export function heapOptions(limits: Limits): string[] {
  return [`--max-old-space-size=${Math.max(64, Math.floor(limits.memory * 0.9))}`];
}
