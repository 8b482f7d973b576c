import { spawn } from "node:child_process";
import { once } from "node:events";
import * as path from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { failure, type Outcome } from "../jobs/outcome.js";
import type { Action } from "../jobs/task.js";
import { exceeded } from "./exceeded.js";
import { heapOptions, type Limits, watch } from "./limits.js";
import { ProcessorLost } from "./verify-pool.js";

const LIFELINE = new URL("./lifeline.js", import.meta.url).href;
/** The program beside the library that is imported. */
const PROGRAM = path.join(path.dirname(fileURLToPath(import.meta.resolve("guestscope"))), "cli/main.js");
/** A document or a list of errors beyond this is cut: results stay small. */
const OUTPUT_LIMIT = 4 << 20;

/** One run of `guestscope`. */
export interface ProgramRun {
  readonly action: Action;
  readonly options: readonly string[];
  readonly input: string;
  /** A name that doesn't exist yet. */
  readonly output?: string;
}

/**
 * Runs `guestscope ACTION` in a process of its own, within the limits.
 * @throws ProcessorLost when the program was killed by something else
 */
export async function runProgram(
  run: ProgramRun,
  limits: Limits,
  children: Set<{ kill(signal: "SIGKILL"): unknown }>,
): Promise<Outcome> {
  const output = run.output === undefined ? [] : [run.output];
  const args = [run.action, "--json", ...run.options, run.input, ...output];
  const child = spawn(process.execPath, [...heapOptions(limits), "--import", LIFELINE, PROGRAM, ...args], {
    env: { ...process.env, GUESTSCOPE_FLEET_LIFELINE: "3", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  // it tells that the process is gone, as "close" does
  child.stdio[3]?.on("error", () => undefined);
  const stop = watch(child, limits);
  children.add(child);
  try {
    const [stdout, stderr, [status, signal]] = await Promise.all([
      textOf(child.stdout),
      textOf(child.stderr),
      once(child, "close") as Promise<[number | null, string | null]>,
    ]);
    const excess = stop();
    if (excess !== undefined) return exceeded(excess, limits);
    if (signal !== null) throw new ProcessorLost(signal);
    return outcomeOf(status ?? 2, stdout, stderr);
  } finally {
    stop();
    children.delete(child);
  }
}

async function textOf(stream: Readable | null): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stream ?? []) {
    const bytes = part as Buffer;
    if (length < OUTPUT_LIMIT) parts.push(bytes.subarray(0, OUTPUT_LIMIT - length));
    length += bytes.length;
  }
  return Buffer.concat(parts).toString("utf8");
}

/** Statuses are those of every command: 0 good, 1 the input is at fault, 2 anything else. */
function outcomeOf(status: number, stdout: string, stderr: string): Outcome {
  const document = parsed(stdout);
  const extra = document === undefined ? {} : { document };
  const warnings = stderr.split("\n").filter((line) => line.startsWith("guestscope: warning: "));
  if (status === 0) {
    const findings = warnings.slice(0, 100).map((line) => ({
      code: "fleet/warning",
      severity: "warning" as const,
      message: line.replace("guestscope: warning: ", ""),
    }));
    const verdict =
      warnings.length === 0
        ? "done"
        : `done with ${warnings.length} warning${warnings.length === 1 ? "" : "s"}`;
    return {
      status: "good",
      verdict,
      errors: 0,
      warnings: warnings.length,
      notes: 0,
      findings,
      omitted: {},
      ...extra,
    };
  }
  const { code, message } = errorOf(stderr);
  return {
    ...failure(
      code ?? (status === 1 ? "fleet/incomplete" : "fleet/refused"),
      message,
      status === 1 || code === undefined ? "input" : "system",
    ),
    ...extra,
  };
}

/** The last error the program printed: `guestscope: file: message [code]`. */
function errorOf(stderr: string): { code: string | undefined; message: string } {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const line =
    lines.findLast((text) => text.startsWith("guestscope: ") && !text.startsWith("guestscope: warning: ")) ??
    lines.at(-1) ??
    "no error was printed";
  const match = /^(?:guestscope: )?(.*?)(?: \[([\w/-]{1,80})\])?$/s.exec(line.slice(0, 2000));
  return { code: match?.[2], message: match?.[1] ?? line };
}

function parsed(stdout: string): unknown {
  try {
    return JSON.parse(stdout) as unknown;
  } catch {
    return undefined;
  }
}
