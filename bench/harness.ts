import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

/** What one figure of `npm run bench` says: a ratio against a named peer of the same run, and its bar. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly bar: string;
  readonly met: boolean | undefined;
}

const figures: Figure[] = [];

/** Figures recorded so far, in order. */
export function recorded(): readonly Figure[] {
  return figures;
}

/** Records and prints one figure. `met` undefined: informative, no bar. */
export function record(name: string, value: string, bar = "", met?: boolean): void {
  figures.push({ name, value, bar, met });
  const mark = met === undefined ? " " : met ? "+" : "-";
  process.stdout.write(`${mark} ${name.padEnd(58)} ${value.padStart(12)}  ${bar}\n`);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

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
export function peakMemory(command: string): number | undefined {
  if (!fs.existsSync("/usr/bin/time")) return undefined;
  const file = path.join(os.tmpdir(), `guestscope-bench-${process.pid}.rss`);
  timeShell(`/usr/bin/time -f %M -o ${file} ${command}`);
  const kib = Number(fs.readFileSync(file, "utf8").trim().split("\n").at(-1));
  fs.rmSync(file);
  return kib / 1024;
}

export interface Pair {
  readonly name: string;
  /** Shell commands; `prepare` runs untimed before each. */
  readonly ours: string;
  readonly peer: string;
  readonly peerName: string;
  readonly prepare?: string;
  /** Least accepted ratio of speeds, ours / peer. */
  readonly bar?: number;
  readonly rounds?: number;
}

/** Interleaved pairs: ours, peer, ours, peer …; records the median of the pairwise ratios of speeds. */
export function compare(pair: Pair): number {
  const rounds = pair.rounds ?? 5;
  const ratios: number[] = [];
  for (let round = -1; round < rounds; round += 1) {
    if (pair.prepare !== undefined) timeShell(pair.prepare);
    const ours = timeShell(pair.ours);
    if (pair.prepare !== undefined) timeShell(pair.prepare);
    const peer = timeShell(pair.peer);
    if (round >= 0) ratios.push(peer / ours);
  }
  const ratio = median(ratios);
  const bar = pair.bar === undefined ? `of ${pair.peerName}` : `of ${pair.peerName}, bar ${pair.bar}`;
  record(pair.name, `${ratio.toFixed(2)}x`, bar, pair.bar === undefined ? undefined : ratio >= pair.bar);
  return ratio;
}

/**
 * Shell that removes an output and touches as much memory as writing it takes. A virtual machine has given free
 * memory back to its host: getting it again would be in the time of whoever writes first.
 */
export function clearOutput(file: string, mib: number): string {
  return `rm -f ${file}; head -c ${mib}M /dev/zero > ${file} && rm ${file}`;
}

/** Median wall seconds of a command over a few runs after a warm-up. */
export function medianSeconds(command: string, rounds = 5): number {
  timeShell(command);
  return median(Array.from({ length: rounds }, () => timeShell(command)));
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

/** How benches call the built command line. */
export const GUESTSCOPE = `${process.execPath} ${path.resolve(import.meta.dirname, "../dist/cli/main.js")}`;
