import type { CodecName } from "../codecs/codec.js";
import { type PackedBatch, PLACE_NUMBERS, type Unpackers, type UnpackPool } from "../codecs/unpack-batch.js";
import type { PageWorkerData } from "./page-workers.js";
import { Threads, usualThreads } from "./threads.js";

/** What a thread is sent, with memory for the pages, which is handed over and comes back. */
export interface UnpackJob extends PackedBatch {
  readonly into: Uint8Array;
}

/** What it answers. */
export interface UnpackAnswer {
  readonly into: Uint8Array;
  /** False: some page can't be unpacked, or its packed bytes can't be read. */
  readonly good: boolean;
}

/** Batches a thread has at most: one in work, some at hand, as batches take from nothing (zeros) to a millisecond. */
const DEPTH = 6;

/**
 * Worker threads that unpack pages.
 * @param count How many; default: one a processor.
 * @param program The compiled page-worker.js, where it isn't beside this module.
 */
export function unpackWorkers(count: number = usualThreads(), program?: URL): Unpackers {
  return { start: () => startUnpackWorkers(count, program) };
}

function startUnpackWorkers(count: number, program: URL | undefined): UnpackPool {
  const data: PageWorkerData = { unpack: true };
  const threads = new Threads<UnpackJob | readonly CodecName[], UnpackAnswer>(count, data, program);
  const free: ArrayBufferLike[] = [];
  return {
    width: count * DEPTH,
    prepare: (codecs) => threads.tell(codecs),
    async unpack({ packed, places, pageSize }) {
      const size = (places.length / PLACE_NUMBERS) * pageSize;
      const buffer = free.pop();
      const memory =
        buffer !== undefined && buffer.byteLength >= size ? buffer : new ArrayBuffer(Math.max(size, 1));
      const into = new Uint8Array(memory, 0, size);
      const moved = [memory, places.buffer, ...(packed instanceof Uint8Array ? [packed.buffer] : [])];
      const answer = await threads.send({ packed, places, pageSize, into }, moved);
      if (answer.good) return answer.into;
      free.push(answer.into.buffer);
      return undefined;
    },
    recycle: (pages) => void free.push(pages.buffer),
    close: () => threads.close(),
  };
}
