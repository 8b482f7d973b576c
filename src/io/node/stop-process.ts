import { spawn } from "node:child_process";
import * as fs from "node:fs";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
/** Waits for a line; when the pipe ends without one, whoever held it has died and the process is resumed. */
const GUARD = 'read -r _ || kill -CONT "$1"';
/** A process that sits in an uninterruptible call may take this long to stop, in milliseconds. */
const PATIENCE = 1000;

/**
 * Stops a process (SIGSTOP) until the returned function is called. It is resumed as well when this program exits, on
 * a signal that ends it, and even when it is killed (SIGKILL, out of memory): a shell in a session of its own sees to
 * that. One that was stopped before stays so.
 */
export function stopProcess(pid: number): () => void {
  if (stateOf(pid) === "T") return () => undefined;
  // started before the process is stopped: there is no moment without it
  const guard = spawn("/bin/sh", ["-c", GUARD, "sh", String(pid)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  // without a shell the other ways remain
  guard.on("error", () => undefined);
  guard.stdin.on("error", () => undefined);
  guard.unref();
  let stopped = true;
  const resume = (): void => {
    if (!stopped) return;
    stopped = false;
    process.off("exit", resume);
    for (const signal of SIGNALS) process.off(signal, onSignal);
    try {
      process.kill(pid, "SIGCONT");
    } catch {
      // gone meanwhile: nothing to resume
    }
    guard.stdin.end("resumed\n");
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    resume();
    // with no one else to act on the signal it does what it does by default
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  process.on("exit", resume);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    process.kill(pid, "SIGSTOP");
    for (let i = 0; i < PATIENCE && !/[TtZX]/.test(stateOf(pid)); i += 1) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  } catch (error) {
    resume();
    throw error;
  }
  return resume;
}

/** `R`, `S`, `T` …, as proc(5) has it. */
function stateOf(pid: number): string {
  return /^State:\s+(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "";
}
