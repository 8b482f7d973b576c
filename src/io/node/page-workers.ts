import * as os from "node:os";
import { Worker } from "node:worker_threads";
import type { FilePlace } from "../byte-source.js";
import { embeddedText } from "./embedded.js";
import {
  BufferStore,
  type PackedPages,
  type PackSettings,
  type PagePool,
  type PoolFactory,
} from "../codecs/page-batch.js";

/** What a thread is sent: pages or where to read them, and memory for their packed form. Memory is handed over and comes back. */
export type PageJob = { readonly pageSize: number; readonly into: Uint8Array } & (
  | { readonly pages: Uint8Array }
  | { readonly file: FilePlace; readonly length: number }
);

/** What it answers; undefined: the file couldn't be read. */
export type PageAnswer = PackedPages | undefined;

interface Waiting {
  readonly resolve: (answer: PageAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** One thread and the batches it has, oldest first: it answers in order. */
interface Thread {
  readonly worker: Worker;
  readonly waiting: Waiting[];
}

const PROGRAM = "page-worker.js";

/** A thread of the given program; else of the one beside this module, or of a single executable's own. */
function startThread(program: URL | undefined, settings: PackSettings): Worker {
  const options = { workerData: settings };
  const text = program === undefined ? embeddedText(PROGRAM) : undefined;
  return text === undefined
    ? new Worker(program ?? new URL(PROGRAM, import.meta.url), options)
    : new Worker(text, { ...options, eval: true });
}

/** Batches a thread has at most: one in work, the others at hand while the caller reads, writes or waits its turn. */
const DEPTH = 4;

/**
 * Starts worker threads that pack pages: they come up while the caller opens its input. They keep no process alive
 * before their first batch.
 * @param threads How many; default: one a processor.
 * @param program The compiled page-worker.js, where it isn't beside this module.
 */
export function startPageWorkers(
  settings: PackSettings,
  threads: number = os.availableParallelism(),
  program?: URL,
): PagePool {
  let failure: Error | undefined;
  const pool: Thread[] = Array.from({ length: threads }, () => {
    const worker = startThread(program, settings);
    const waiting: Waiting[] = [];
    worker.on("message", (answer: PageAnswer) => waiting.shift()?.resolve(answer));
    const fail = (error: Error): void => {
      failure ??= error;
      for (const { reject } of waiting.splice(0)) reject(error);
    };
    worker.on("error", fail);
    worker.on("exit", () => fail(new Error("a worker thread ended early")));
    // last: a listener for messages takes hold of the process again
    worker.unref();
    return { worker, waiting };
  });
  const store = new BufferStore();
  const send = async (job: PageJob, moved: readonly ArrayBufferLike[]): Promise<PageAnswer> => {
    if (failure !== undefined) throw failure;
    const { worker, waiting } = pool.reduce((least, next) =>
      next.waiting.length < least.waiting.length ? next : least,
    );
    worker.ref();
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage(job, moved as ArrayBuffer[]);
    });
  };
  return {
    width: threads * DEPTH,
    async pack(pages, pageSize) {
      const into = store.take(pages.buffer.byteLength);
      return (await send({ pages, pageSize, into }, [pages.buffer, into.buffer])) as PackedPages;
    },
    packFile(file, length, pageSize) {
      const into = store.take(length);
      return send({ file, length, pageSize, into }, [into.buffer]);
    },
    memory: (size) => store.take(size),
    recycle: (packed) => store.recycle(packed),
    async close() {
      await Promise.all(pool.map(({ worker }) => worker.terminate()));
    },
  };
}

/** Starts the threads of the first pool now; pools after it start theirs when they are made. */
export function pageWorkersAhead(settings: PackSettings, threads: number | undefined): PoolFactory {
  let ahead: PagePool | undefined = startPageWorkers(settings, threads);
  return async (asked, count) => {
    const pool = ahead ?? startPageWorkers(asked, count);
    ahead = undefined;
    return pool;
  };
}
