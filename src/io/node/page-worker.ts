import * as fs from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { CodecName } from "../codecs/codec.js";
import { loadPack, type PackedPages, type PackSettings, packPages } from "../codecs/page-batch.js";
import { loadUnpack, unpackPages } from "../codecs/unpack-batch.js";
import { installNodeCodecs } from "./codecs.js";
import type { PageAnswer, PageJob, PageWorkerData } from "./page-workers.js";
import type { UnpackAnswer, UnpackJob } from "./unpack-workers.js";

/** The program of one worker thread: batches of pages come in, packed or unpacked ones go out, memory is handed over. */
installNodeCodecs();
// zstd's decoder would load its own program through it, and Node a web client for that
Reflect.deleteProperty(globalThis, "fetch");

const data = workerData as PageWorkerData;
if ("pack" in data) void servePacking(data.pack);
else serveUnpacking();

async function servePacking(settings: PackSettings): Promise<void> {
  /** Whole pages of any size; little enough to stay in the CPU's cache until it is packed. */
  const window = new Uint8Array(64 << 10);
  // what fails here is an error of the thread; messages wait until somebody listens
  const pack = await loadPack(settings);
  parentPort?.on("message", (job: PageJob) => {
    const answer =
      "pages" in job ? packPages(job.pages, job.pageSize, pack, job.into) : packFile(job, pack, window);
    parentPort?.postMessage(answer, moved(answer));
  });
}

function serveUnpacking(): void {
  let window = new Uint8Array(0);
  let decompressors: ReturnType<typeof loadUnpack> | undefined;
  const answer = (
    { packed, places, pageSize, into }: UnpackJob,
    ready: Awaited<ReturnType<typeof loadUnpack>>,
  ): void => {
    let bytes: Uint8Array | undefined;
    if (packed instanceof Uint8Array) bytes = packed;
    else {
      if (window.length < packed.length) window = new Uint8Array(packed.length);
      const part = window.subarray(0, packed.length);
      if (readWhole(packed.place.fd, packed.place.offset, part)) bytes = part;
    }
    const good = bytes !== undefined && unpackPages(bytes, places, pageSize, ready, into);
    parentPort?.postMessage({ into, good } satisfies UnpackAnswer, [into.buffer as ArrayBuffer]);
  };
  parentPort?.on("message", (message: UnpackJob | readonly CodecName[]) => {
    if ("places" in message) void decompressors?.then((ready) => answer(message, ready));
    else decompressors = loadUnpack(message);
  });
}

function moved(answer: PageAnswer): ArrayBuffer[] {
  if (answer === undefined) return [];
  const { pages, data, sizes } = answer;
  return [...(pages === undefined ? [] : [pages.buffer]), data.buffer, sizes.buffer] as ArrayBuffer[];
}

function packFile(
  { file, length, pageSize, into }: Extract<PageJob, { file: unknown }>,
  pack: Awaited<ReturnType<typeof loadPack>>,
  window: Uint8Array,
): PageAnswer {
  const sizes = new Uint32Array(length / pageSize);
  let used = 0;
  for (let at = 0; at < length; at += window.length) {
    const part = window.subarray(0, Math.min(window.length, length - at));
    if (!readWhole(file.fd, file.offset + at, part)) return undefined;
    const packed: PackedPages = packPages(part, pageSize, pack, into.subarray(used));
    sizes.set(packed.sizes, at / pageSize);
    used += packed.data.length;
  }
  return { data: into.subarray(0, used), sizes };
}

/** False: the file ends before, or fails. The caller finds out which when it reads for itself. */
function readWhole(fd: number, offset: number, into: Uint8Array): boolean {
  try {
    let done = 0;
    for (let n = 1; n > 0 && done < into.length; done += n)
      n = fs.readSync(fd, into, done, into.length - done, offset + done);
    return done === into.length;
  } catch {
    return false;
  }
}
