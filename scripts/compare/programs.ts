import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import type { Ran } from "./outcome.js";

/** More than any honest JSON document, in bytes. */
const OUTPUT_LIMIT = 64 << 20;
/** Runs after which a process is replaced, so that what modules keep doesn't grow. */
const RUNS_PER_PROCESS = 60;

export interface Call {
  readonly program: string;
  readonly args: readonly string[];
  readonly limit: number;
  readonly stdin?: string | undefined;
  /** In a process of its own, as users run it. */
  readonly alone: boolean;
}

/** What one stream of a process printed since it was last emptied. */
class Printed {
  #chunks: Buffer[] = [];
  #length = 0;

  add(chunk: Buffer): void {
    this.#length += chunk.length;
    if (this.#length <= OUTPUT_LIMIT) this.#chunks.push(chunk);
  }

  /** Whether the last bytes are `mark`. */
  endsWith(mark: string): boolean {
    const tail = this.#chunks.at(-1);
    if (tail === undefined) return false;
    if (tail.length >= mark.length) return tail.subarray(-mark.length).toString("latin1") === mark;
    return this.text().endsWith(mark);
  }

  text(): string {
    this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]?.toString("utf8") ?? "";
  }
}

/** Runs the programs of built checkouts, one at a time. */
export class Programs {
  readonly #idle = new Map<string, { child: ChildProcess; runs: number }>();

  async run(checkout: string, call: Call): Promise<Ran> {
    const program = path.join(checkout, "dist/cli", call.program);
    if (call.alone || call.stdin !== undefined) return runAlone(program, call);
    const known = this.#idle.get(checkout);
    this.#idle.delete(checkout);
    const child = known?.child ?? startRunner();
    const { ran, alive } = await runInside(child, program, call);
    const runs = (known?.runs ?? 0) + 1;
    if (alive && runs < RUNS_PER_PROCESS) this.#idle.set(checkout, { child, runs });
    else child.kill("SIGKILL");
    return ran;
  }

  close(): void {
    for (const { child } of this.#idle.values()) child.kill("SIGKILL");
    this.#idle.clear();
  }
}

function startRunner(): ChildProcess {
  const runner = path.join(import.meta.dirname, "runner.mjs");
  return spawn(process.execPath, [runner], { stdio: ["ignore", "pipe", "pipe", "ipc"] });
}

async function runInside(
  child: ChildProcess,
  program: string,
  call: Call,
): Promise<{ ran: Ran; alive: boolean }> {
  const mark = `\0${randomUUID()}\0`;
  const out = new Printed();
  const err = new Printed();
  const ended = deferred();
  const check = (): void => {
    if (out.endsWith(mark) && err.endsWith(mark)) ended.resolve("done");
  };
  const onOut = (chunk: Buffer): void => {
    out.add(chunk);
    check();
  };
  const onErr = (chunk: Buffer): void => {
    err.add(chunk);
    check();
  };
  const onClose = (code: number | null): void => ended.resolve(code ?? -1);
  child.stdout?.on("data", onOut);
  child.stderr?.on("data", onErr);
  child.on("close", onClose);
  child.on("error", ended.reject);
  const timer = setTimeout(() => ended.resolve("timeout"), call.limit);
  child.send({ program, args: call.args, mark });
  const end = await ended.promise;
  clearTimeout(timer);
  child.stdout?.off("data", onOut);
  child.stderr?.off("data", onErr);
  child.off("close", onClose);
  child.off("error", ended.reject);
  const [stdout = "", status = ""] = out.text().split(mark);
  const [stderr = ""] = err.text().split(mark);
  return { ran: { status: end === "done" ? Number(status) : end, stdout, stderr }, alive: end === "done" };
}

function runAlone(program: string, call: Call): Promise<Ran> {
  const input = call.stdin === undefined ? undefined : fs.openSync(call.stdin, "r");
  const child = spawn(process.execPath, [program, ...call.args], {
    stdio: [input ?? "ignore", "pipe", "pipe"],
  });
  if (input !== undefined) fs.closeSync(input);
  const out = new Printed();
  const err = new Printed();
  child.stdout?.on("data", (chunk: Buffer) => out.add(chunk));
  child.stderr?.on("data", (chunk: Buffer) => err.add(chunk));
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, call.limit);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ status: late ? "timeout" : (code ?? -1), stdout: out.text(), stderr: err.text() });
    });
  });
}

type End = number | "timeout" | "done";

/** A promise with the functions that settle it. */
function deferred(): { promise: Promise<End>; resolve: (end: End) => void; reject: (error: Error) => void } {
  let resolve: (end: End) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<End>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
