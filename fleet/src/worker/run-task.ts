import * as os from "node:os";
import * as path from "node:path";
import * as fs from "node:fs/promises";
import { GuestscopeError, SystemError } from "guestscope";
import { systemError } from "guestscope/node";
import { failure, type Outcome, type Result, resultOf } from "../jobs/outcome.js";
import { outputPath, type Task } from "../jobs/task.js";
import type { Limits } from "../processor/limits.js";
import { runProgram } from "../processor/program.js";
import { ProcessorLost, VerifyPool } from "../processor/verify-pool.js";
import type { ResultStore } from "../report/store.js";
import { fileSource, isUnchanged } from "../sources/local.js";
import { download } from "../sources/remote.js";
import { isAbandoned, ownedName } from "./owned-name.js";
import { Staging } from "./staging.js";

/** Start of the names of directories for downloads. */
const DOWNLOADS = "guestscope-fleet-";

/** What a runner of tasks needs. */
export interface RunnerOptions {
  readonly store: ResultStore;
  /** Jobs at the same time. */
  readonly concurrency: number;
  readonly limits: Limits;
  /** Directory for downloads and what packed inputs are unpacked into. */
  readonly spool: string;
}

/** How a task ended: with a result that stands in the report, or a reason to try again. */
export type Ending =
  | { readonly result: Result /** False: the result was there already. */; readonly fresh: boolean }
  | { readonly again: Outcome };

/** Runs tasks in processes of their own and puts their results into the report. */
export class TaskRunner {
  readonly #options: RunnerOptions;
  readonly #pool: VerifyPool;
  readonly #programs = new Set<{ kill(signal: "SIGKILL"): unknown }>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#pool = new VerifyPool(options.concurrency, options.limits);
  }

  /**
   * Runs a task unless its result is there. @param last whether a failure that may pass by itself is final
   * @throws SystemError when the report or an output can't be written: nothing is known of the task then
   */
  async run(task: Task, last: boolean): Promise<Ending> {
    const { store } = this.#options;
    const before = await store.get(task.key);
    const replace = task.retry && before?.status === "failed";
    if (before !== undefined && !replace) return { result: before, fresh: false };
    const began = new Date();
    const clock = performance.now();
    const outcome = await this.#outcome(task);
    if (outcome.fault === "system" && !last) return { again: outcome };
    return this.record(task, outcome, { began, seconds: (performance.now() - clock) / 1000, replace });
  }

  /** Puts an outcome into the report. @throws SystemError when it can't be written */
  async record(
    task: Task,
    outcome: Outcome,
    run: { began: Date; seconds: number; replace: boolean } = {
      began: new Date(),
      seconds: 0,
      replace: false,
    },
  ): Promise<{ result: Result; fresh: boolean }> {
    const { store } = this.#options;
    const result = resultOf(task, outcome, { host: os.hostname(), ...run });
    if (await store.put(result, run.replace)) return { result, fresh: true };
    return { result: (await store.get(task.key)) ?? result, fresh: false };
  }

  async #outcome(task: Task): Promise<Outcome> {
    try {
      return await this.#work(task);
    } catch (error) {
      if (error instanceof ProcessorLost) return { ...error.outcome, fault: "system" };
      if (error instanceof SystemError && error.code === "os/ENOSPC") throw error;
      if (error instanceof GuestscopeError) return failure(sourceCode(error.code), error.message, "system");
      throw error;
    }
  }

  async #work(task: Task): Promise<Outcome> {
    const { source } = task;
    if (source.kind === "url") return this.#workOnDownload(task);
    if (!isUnchanged(source, await fileSource(source.path))) throw changed(source.path);
    return this.#process(task, source.path, async () => {
      if (!isUnchanged(source, await fileSource(source.path))) throw changed(source.path);
    });
  }

  async #workOnDownload(task: Task): Promise<Outcome> {
    const { source } = task;
    if (source.kind !== "url") throw new TypeError("not a URL");
    const { limits, spool } = this.#options;
    const directory = path.join(spool, `${DOWNLOADS}${ownedName()}`);
    await fs.mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      throw systemError(error, spool);
    });
    try {
      const file = path.join(
        directory,
        path.basename(new URL(source.url).pathname).slice(0, 100) || "download",
      );
      const late = AbortSignal.timeout(limits.time * 1000);
      try {
        await download(source, file, late);
      } catch (error) {
        if (late.aborted)
          return failure("fleet/time-limit", `not downloaded within ${limits.time} s`, "system");
        throw error;
      }
      return await this.#process(task, file, () => Promise.resolve());
    } finally {
      await fs.rm(directory, { recursive: true, force: true });
    }
  }

  /** @param check throws when the source is no longer what it was: nothing that was made of it counts then */
  async #process(task: Task, input: string, check: () => Promise<void>): Promise<Outcome> {
    const { limits, spool } = this.#options;
    if (task.action === "verify") {
      const strict = task.options.includes("--strict");
      const outcome = await this.#pool.verify({ path: input, strict, spool });
      await check();
      return noSpace(outcome, input);
    }
    const final = outputPath(task);
    const run = { action: task.action, options: task.options, input };
    if (final === undefined) {
      const outcome = await runProgram(run, limits, this.#programs);
      await check();
      return noSpace(outcome, input);
    }
    const staging = await Staging.open(final, task.key, limits.time);
    try {
      const outcome = await runProgram({ ...run, output: staging.partial }, limits, this.#programs);
      await check();
      if (noSpace(outcome, final).status !== "good") return outcome;
      return { ...outcome, output: { path: final, size: await staging.commit() } };
    } finally {
      await staging.close();
    }
  }

  /** Ends all processes; what they were at is lost, and is done again by whoever gets the task next. */
  close(): void {
    this.#pool.close();
    for (const child of this.#programs) child.kill("SIGKILL");
  }
}

/** Removes downloads that killed processes of this host left in a directory for temporary files. */
export async function removeAbandonedDownloads(spool: string): Promise<void> {
  for (const name of await fs.readdir(spool).catch(() => [])) {
    if (name.startsWith(DOWNLOADS) && isAbandoned(name.slice(DOWNLOADS.length)))
      await fs.rm(path.join(spool, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** A full disk is no property of an input. */
function noSpace(outcome: Outcome, source: string): Outcome {
  if (outcome.findings[0]?.code !== "os/ENOSPC") return outcome;
  throw new SystemError("os/ENOSPC", "no space left on the device", { source });
}

function changed(source: string): SystemError {
  return new SystemError("fleet/source-changed", "has changed since it was submitted: submit it again", {
    source,
  });
}

/** A file that was there when it was submitted is gone. */
function sourceCode(code: string): string {
  return code === "os/ENOENT" ? "fleet/source-gone" : code;
}
