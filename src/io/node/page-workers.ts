import * as os from "node:os";
import { Worker } from "node:worker_threads";
import { BufferStore, type PackedPages, type PackSettings, type PagePool } from "../codecs/page-batch.js";

/** What a thread is sent: pages, and memory for their packed form. Both are handed over, and come back. */
export interface PageJob {
  readonly pages: Uint8Array;
  readonly into: Uint8Array;
}

interface Waiting {
  readonly resolve: (packed: PackedPages) => void;
  readonly reject: (error: Error) => void;
}

/** One thread and the batches it has, oldest first: it answers in order. */
interface Thread {
  readonly worker: Worker;
  readonly waiting: Waiting[];
}

const PROGRAM = new URL("./page-worker.js", import.meta.url);

/**
 * Worker threads that pack pages.
 * @param threads How many; default: one a processor.
 * @param program The compiled page-worker.js, where it doesn't lie beside this module.
 */
export function createPageWorkers(
  settings: PackSettings,
  threads: number = os.availableParallelism(),
  program: URL = PROGRAM,
): PagePool {
  let failure: Error | undefined;
  const pool: Thread[] = Array.from({ length: threads }, () => {
    const worker = new Worker(program, { workerData: settings });
    const waiting: Waiting[] = [];
    worker.on("message", (packed: PackedPages) => waiting.shift()?.resolve(packed));
    const fail = (error: Error): void => {
      failure ??= error;
      for (const { reject } of waiting.splice(0)) reject(error);
    };
    worker.on("error", fail);
    worker.on("exit", () => fail(new Error("a worker thread ended early")));
    return { worker, waiting };
  });
  const store = new BufferStore();
  return {
    // one batch in work and one at hand for each thread
    width: threads * 2,
    async pack(pages) {
      if (failure !== undefined) throw failure;
      const thread = pool.reduce((least, next) =>
        next.waiting.length < least.waiting.length ? next : least,
      );
      return new Promise((resolve, reject) => {
        thread.waiting.push({ resolve, reject });
        const into = store.take(pages.buffer.byteLength);
        const job: PageJob = { pages, into };
        thread.worker.postMessage(job, [pages.buffer, into.buffer] as ArrayBuffer[]);
      });
    },
    memory: (size) => store.take(size),
    recycle({ pages, data }) {
      store.give(pages);
      store.give(data);
    },
    async close() {
      await Promise.all(pool.map(({ worker }) => worker.terminate()));
    },
  };
}
