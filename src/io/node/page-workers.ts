import type { FilePlace } from "../byte-source.js";
import {
  BufferStore,
  type PackedPages,
  type PackSettings,
  type PagePool,
  type PoolFactory,
} from "../codecs/page-batch.js";
import { Threads, usualThreads } from "./threads.js";

/** What a thread of page-worker.js is started for. */
export type PageWorkerData = { readonly pack: PackSettings } | { readonly unpack: true };

/** What a thread is sent: pages or where to read them, and memory for their packed form. Memory is handed over and comes back. */
export type PageJob = { readonly pageSize: number; readonly into: Uint8Array } & (
  | { readonly pages: Uint8Array }
  | { readonly file: FilePlace; readonly length: number }
);

/** What it answers; undefined: the file couldn't be read. */
export type PageAnswer = PackedPages | undefined;

/** Batches a thread has at most: one in work, the others at hand while the caller reads, writes or waits its turn. */
const DEPTH = 4;

/**
 * Starts worker threads that pack pages: they come up while the caller opens its input. They keep no process alive
 * before their first batch.
 * @param count How many; default: one a processor.
 * @param program The compiled page-worker.js, where it isn't beside this module.
 */
export function startPageWorkers(
  settings: PackSettings,
  count: number = usualThreads(),
  program?: URL,
): PagePool {
  const data: PageWorkerData = { pack: settings };
  const threads = new Threads<PageJob, PageAnswer>(count, data, program);
  const store = new BufferStore();
  return {
    width: count * DEPTH,
    async pack(pages, pageSize) {
      const into = store.take(pages.buffer.byteLength);
      return (await threads.send({ pages, pageSize, into }, [pages.buffer, into.buffer])) as PackedPages;
    },
    packFile(file, length, pageSize) {
      const into = store.take(length);
      return threads.send({ file, length, pageSize, into }, [into.buffer]);
    },
    memory: (size) => store.take(size),
    recycle: (packed) => store.recycle(packed),
    close: () => threads.close(),
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
