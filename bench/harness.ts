import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import module from "node:module";
import * as os from "node:os";
import * as path from "node:path";
import { type Figure, median, missing, record } from "./figures.js";

/** Runs of whatever is measured, after one that isn't counted. */
const ROUNDS = 5;

/** Runs a shell command to its end; returns wall seconds. Throws when it fails. */
export function timeShell(command: string): number {
  const began = performance.now();
  const result = spawnSync("bash", ["-c", `set -o pipefail; ${command}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const seconds = (performance.now() - began) / 1000;
  if (result.status !== 0)
    throw new Error(`bench: '${command}' ended with ${result.status}: ${result.stderr.toString()}`);
  return seconds;
}

/** Peak resident memory of a command in MiB, as /proc counts it for the process itself (VmHWM); needs GNU time. */
function peakMemory(command: string): number {
  const file = path.join(os.tmpdir(), `guestscope-bench-${process.pid}.rss`);
  timeShell(`/usr/bin/time -f %M -o ${file} ${command}`);
  const kib = Number(fs.readFileSync(file, "utf8").trim().split("\n").at(-1));
  fs.rmSync(file);
  return kib / 1024;
}

/** Records the peak memory of a command, the largest of three runs, in MiB. */
export function recordPeak(
  figure: Pick<Figure, "name" | "most" | "before" | "limit">,
  command: string,
  rounds = 3,
): void {
  if (fs.existsSync("/usr/bin/time"))
    record({ ...figure, unit: "MiB", values: Array.from({ length: rounds }, () => peakMemory(command)) });
  else missing(figure.name, "GNU time");
}

/** Two commands that do comparable work. */
export interface Pair extends Pick<Figure, "name" | "before" | "limit"> {
  /** Shell commands; `prepare` runs untimed before each. */
  readonly ours: string;
  readonly peer: string;
  readonly peerName: string;
  readonly prepare?: string;
  /** Least accepted ratio of speeds, ours / peer. */
  readonly bar?: number;
  readonly rounds?: number;
}

/** Ratios of speeds, ours / peer, of interleaved pairs: ours, peer, ours, peer …; the first is not counted. */
function ratiosOf({ ours, peer, prepare, rounds = ROUNDS }: Pair): number[] {
  const timed = (command: string): number => {
    if (prepare !== undefined) timeShell(prepare);
    return timeShell(command);
  };
  const ratios: number[] = [];
  for (let round = -1; round < rounds; round += 1) {
    const seconds = timed(ours);
    const ratio = timed(peer) / seconds;
    if (round >= 0) ratios.push(ratio);
  }
  return ratios;
}

/** Records the ratios of speeds of interleaved pairs. */
export function compare(pair: Pair): void {
  const { name, peerName, bar, before, limit } = pair;
  record({ name, values: ratiosOf(pair), unit: "×", peer: peerName, least: bar, before, limit });
}

/**
 * Shell that removes an output and touches as much memory as writing it takes. A virtual machine has given free
 * memory back to its host: getting it again would be in the time of whoever writes first.
 */
export function clearOutput(file: string, mib: number): string {
  return `rm -f ${file}; head -c ${mib}M /dev/zero > ${file} && rm ${file}`;
}

/** Wall seconds of a command in a few runs after a warm-up. */
export function secondsOf(command: string, rounds = ROUNDS): number[] {
  timeShell(command);
  return Array.from({ length: rounds }, () => timeShell(command));
}

/** Median wall seconds of a command over a few runs after a warm-up. */
export function medianSeconds(command: string, rounds = ROUNDS): number {
  return median(secondsOf(command, rounds));
}

/** Seconds over node's own start that a small command may take: Node 22 and newer keep what they compiled. */
const START_BAR = "enableCompileCache" in module ? 0.05 : 0.08;
const START_ROUNDS = 15;

/** Records how much longer than nothing at all node takes for a command on a small input. */
export function recordStart(figure: Pick<Figure, "name" | "before" | "limit">, command: string): void {
  const node = `${process.execPath} -e 0`;
  timeShell(command);
  record({
    ...figure,
    values: Array.from({ length: START_ROUNDS }, () => timeShell(command) - timeShell(node)),
    unit: "s",
    most: START_BAR,
    peer: "node's own start",
  });
}

/** A folder on the memory file system, removed at the end of `body`. */
export async function inMemory<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const base = fs.existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
  const folder = fs.mkdtempSync(path.join(base, "guestscope-bench-"));
  try {
    return await body(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** A folder on the disk that this checkout is on, removed at the end of `body`. */
export async function onDisk<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = fs.mkdtempSync(path.resolve(import.meta.dirname, "../.bench-"));
  try {
    return await body(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** How benches call the built command line. */
export const GUESTSCOPE = `${process.execPath} ${path.resolve(import.meta.dirname, "../dist/cli/main.js")}`;
