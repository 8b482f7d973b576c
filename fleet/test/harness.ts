import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import type { Result } from "../src/jobs/outcome.js";

const projectRoot = path.resolve(import.meta.dirname, "../..");
/** The built programs: `npm run test:fleet` builds them first. */
export const fleetProgram = path.join(projectRoot, "fleet/dist/cli/main.js");
const coreProgram = path.join(projectRoot, "dist/cli/main.js");

/** A scratch folder on the memory file system where there is one; removed with `cleanup`. */
export function scratch(): { folder: string; cleanup: () => void } {
  const base = fs.existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();
  const folder = fs.mkdtempSync(path.join(base, "guestscope-fleet-test-"));
  return {
    folder,
    cleanup: () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
  };
}

/** Whether a program is on the PATH; says so, loudly, when it isn't. */
export function lacks(name: string): boolean {
  const found = (process.env.PATH ?? "").split(":").some((folder) => fs.existsSync(path.join(folder, name)));
  if (!found) process.stderr.write(`\n*** SKIPPED: ${name} is not on this machine ***\n`);
  return !found;
}

/** A program that has ended. */
export interface Run {
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export interface Running {
  readonly pid: number;
  readonly ended: Promise<Run>;
}

/** A program that doesn't end by itself fails its test. */
const DEADLINE_MS = 120_000;

/** Starts a program of Node's. */
export function start(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; input?: string } = {},
): Running {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  child.stdin.on("error", () => undefined).end(options.input ?? "");
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const late = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  const ended = new Promise<Run>((resolve) => {
    child.once("close", (status) => {
      clearTimeout(late);
      resolve({ status, stdout, stderr });
    });
  });
  return { pid: child.pid ?? -1, ended };
}

/** Runs `guestscope-fleet`. */
export function fleet(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; input?: string } = {},
): Promise<Run> {
  return start(fleetProgram, args, options).ended;
}

/** Runs `guestscope`. */
export function core(args: readonly string[]): Promise<Run> {
  return start(coreProgram, args).ended;
}

/** All results of a report, by the `report` command. */
export async function resultsIn(folder: string): Promise<Result[]> {
  const { stdout } = await fleet(["report", "--format", "jsonl", folder]);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Result);
}

/** Names of files below a folder, relative to it. */
export function filesIn(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)));
}

/** Processes that a process has started, by Linux's /proc. */
export function childrenOf(pid: number): number[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        const stat = fs.readFileSync(`/proc/${candidate}/stat`, "latin1");
        return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
      } catch {
        return false;
      }
    });
}

/** Waits until something is there. */
export async function until<T>(look: () => T | undefined, seconds = 30): Promise<T> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const found = look();
    if (found !== undefined) return found;
    await pause(0.02);
  }
  throw new Error(`not seen within ${seconds} s`);
}

export const pause = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));
