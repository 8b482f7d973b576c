import { DelayedError, type Job, UnrecoverableError, Worker } from "bullmq";
import { GuestscopeError, SystemError } from "guestscope";
import { failure, type Result } from "../jobs/outcome.js";
import { parseTask, type Task } from "../jobs/task.js";
import type { TaskRunner } from "../worker/run-task.js";
import { redisOptions } from "./connection.js";
import { ATTEMPTS, type FleetQueue, PREFIX } from "./fleet-queue.js";

/** Workers that may die with the same job before it counts as the reason. */
const LOST_WORKERS = 5;
/** Between looks whether a queue is empty. */
const DRAIN_LOOK_MS = 500;
const PUT_BACK_MS = 2000;
/** Characters of a message that Redis keeps of a job. */
const MESSAGE_LENGTH = 500;

/** How a worker goes about it. */
export interface WorkOptions {
  /** Jobs at the same time. */
  readonly concurrency: number;
  /** Seconds without a sign of life until a worker's jobs go to another one. */
  readonly lost: number;
  /** Ends when no jobs are left; otherwise it waits for more. */
  readonly drain: boolean;
  readonly onResult: (result: Result, fresh: boolean) => void;
  readonly onTrouble: (message: string) => void;
}

/** Takes jobs of a queue and hands them to a runner; its own event loop only waits, so that it keeps its locks. */
export class QueueWorker {
  readonly #queue: FleetQueue;
  readonly #runner: TaskRunner;
  readonly #options: WorkOptions;
  readonly #worker: Worker;
  #stopping: Promise<void> | undefined;
  #fatal: GuestscopeError | undefined;
  #stopped: () => void = () => undefined;

  constructor(queue: FleetQueue, runner: TaskRunner, options: WorkOptions) {
    this.#queue = queue;
    this.#runner = runner;
    this.#options = options;
    this.#worker = new Worker(queue.name, (job, token) => this.#handle(job, token), {
      connection: { ...redisOptions(queue.address), maxRetriesPerRequest: null },
      prefix: PREFIX,
      autorun: false,
      concurrency: options.concurrency,
      lockDuration: options.lost * 1000,
      stalledInterval: options.lost * 1000,
      // counted here, so that the last one leaves a result
      maxStalledCount: 1_000_000,
    });
    let last = "";
    this.#worker.on("error", (error) => {
      // one line for each change of what is wrong; BullMQ tries again by itself
      if (error.message !== last && this.#stopping === undefined) options.onTrouble(error.message);
      last = error.message;
    });
  }

  /** Works until `stop`, or until the queue is empty when asked to. @throws GuestscopeError when results can't be kept */
  async run(): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    const running = this.#worker.run();
    running.catch((error: unknown) => this.#options.onTrouble(String(error)));
    while (this.#options.drain && this.#stopping === undefined) {
      await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS))]);
      const counts = await this.#queue.counts().catch(() => undefined);
      if (counts !== undefined && counts.waiting + counts.active + counts.delayed === 0) this.stop();
    }
    await stopped;
    await this.#stopping;
    if (this.#fatal !== undefined) throw this.#fatal;
  }

  /** Takes no more jobs; those under way are ended first. */
  stop(): void {
    this.#stopping ??= this.#worker.close().catch(() => undefined);
    this.#stopped();
  }

  async #handle(job: Job<unknown>, token: string | undefined): Promise<string> {
    const task = this.#parse(job);
    if (this.#fatal !== undefined) return this.#putBack(job, token);
    try {
      const ending = await this.#end(task, job);
      if ("again" in ending) throw new Error(ending.again.verdict.slice(0, MESSAGE_LENGTH));
      const { result, fresh } = ending;
      if (fresh) await this.#queue.counters.ended(result).catch(() => undefined);
      this.#options.onResult(result, fresh);
      if (result.status === "failed") throw new UnrecoverableError(result.verdict.slice(0, MESSAGE_LENGTH));
      return result.status;
    } catch (error) {
      if (!(error instanceof GuestscopeError)) throw error;
      // the report or an output can't be written here: no other job can be ended either
      this.#fatal = new SystemError(
        error.code,
        `${error.message}; the job went back into the queue`,
        error.place,
      );
      this.stop();
      return this.#putBack(job, token);
    }
  }

  /** What is no job of ours fails in Redis: there is no input to report on. */
  #parse(job: Job<unknown>): Task {
    try {
      return parseTask(job.data);
    } catch (error) {
      this.#options.onTrouble(`job ${job.id ?? ""}: ${(error as Error).message}`);
      throw new UnrecoverableError((error as Error).message);
    }
  }

  async #end(task: Task, job: Job<unknown>): Promise<Awaited<ReturnType<TaskRunner["run"]>>> {
    const lost = job.stalledCounter;
    if (lost <= LOST_WORKERS) return this.#runner.run(task, job.attemptsMade + 1 >= ATTEMPTS);
    return this.#runner.record(
      task,
      failure("fleet/worker-lost", `${lost} workers were lost while they had this job`, "input"),
    );
  }

  async #putBack(job: Job<unknown>, token: string | undefined): Promise<never> {
    await job.moveToDelayed(Date.now() + PUT_BACK_MS, token);
    throw new DelayedError();
  }
}
