import * as os from "node:os";
import { Worker } from "node:worker_threads";
import { embeddedText } from "./embedded.js";

interface Waiting<Answer> {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/** One thread and the jobs it has, oldest first: it answers in order. */
interface Thread<Answer> {
  readonly worker: Worker;
  readonly waiting: Waiting<Answer>[];
}

const PROGRAM = "page-worker.js";

/** A thread of the given program; else of the one beside this module, or of a single executable's own. */
function startThread(program: URL | undefined, workerData: unknown): Worker {
  const text = program === undefined ? embeddedText(PROGRAM) : undefined;
  return text === undefined
    ? new Worker(program ?? new URL(PROGRAM, import.meta.url), { workerData })
    : new Worker(text, { workerData, eval: true });
}

/** Threads to start when nobody says how many: one a processor. */
export const usualThreads = (): number => os.availableParallelism();

/**
 * Worker threads of one program, each with its jobs. They come up while the caller does something else, and keep no
 * process alive before their first job.
 */
export class Threads<Job, Answer> {
  readonly #pool: readonly Thread<Answer>[];
  #failure: Error | undefined;

  /**
   * @param workerData what each thread is started with
   * @param program the compiled page-worker.js, where it isn't beside this module
   */
  constructor(count: number, workerData: unknown, program?: URL) {
    this.#pool = Array.from({ length: count }, () => {
      const worker = startThread(program, workerData);
      const waiting: Waiting<Answer>[] = [];
      worker.on("message", (answer: Answer) => waiting.shift()?.resolve(answer));
      const fail = (error: Error): void => {
        this.#failure ??= error;
        for (const { reject } of waiting.splice(0)) reject(error);
      };
      worker.on("error", fail);
      worker.on("exit", () => fail(new Error("a worker thread ended early")));
      // last: a listener for messages takes hold of the process again
      worker.unref();
      return { worker, waiting };
    });
  }

  /** Has the thread with the least to do do a job; memory that `moved` names is handed over. */
  async send(job: Job, moved: readonly ArrayBufferLike[]): Promise<Answer> {
    if (this.#failure !== undefined) throw this.#failure;
    const { worker, waiting } = this.#pool.reduce((least, next) =>
      next.waiting.length < least.waiting.length ? next : least,
    );
    worker.ref();
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage(job, moved as ArrayBuffer[]);
    });
  }

  /** Sends every thread a message that it doesn't answer. */
  tell(message: Job): void {
    for (const { worker } of this.#pool) worker.postMessage(message, []);
  }

  async close(): Promise<void> {
    await Promise.all(this.#pool.map(({ worker }) => worker.terminate()));
  }
}
