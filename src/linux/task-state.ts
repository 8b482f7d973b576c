/**
 * States of a task as the kernel reports them in /proc/PID/stat (Linux 4.14 and later, fs/proc/array.c and
 * include/linux/sched.h).
 */

const REPORTED = 0x7f;
const UNINTERRUPTIBLE = 0x2;
const WAKE_KILL = 0x100;
const NO_LOAD = 0x400;
const IDLE = NO_LOAD | UNINTERRUPTIBLE;
const RT_LOCK_WAIT = 0x1000;
const FROZEN = 0x8000;
/** By the number of the highest bit that is set: running, sleeping, uninterruptible, stopped, traced, dead, zombie, parked. */
const LETTERS = "RSDTtXZP";

/** The letter that ps shows: `R`, `S`, `D`, `T`, `t`, `X`, `Z`, `P` (parked), `I` (idle kernel thread). */
export function stateLetter(state: number, exitState: number): string {
  if (exitState === 0) {
    if ((state & IDLE) === IDLE) return "I";
    if ((state & (RT_LOCK_WAIT | FROZEN)) !== 0) return "D";
  }
  const reported = exitState === 0 ? state & REPORTED : exitState & REPORTED;
  return LETTERS[32 - Math.clz32(reported)] ?? "?";
}

/** Whether the freezer holds the task, as during a suspend (Linux 6.1 and later). */
export function isFrozen(state: number): boolean {
  return (state & FROZEN) !== 0;
}

/** Whether the hung-task detector would look at a task in this state. */
export function mayHang(state: number): boolean {
  return (state & UNINTERRUPTIBLE) !== 0 && (state & (NO_LOAD | FROZEN | WAKE_KILL)) === 0;
}
