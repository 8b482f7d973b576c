import * as fs from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { loadPack, type PackedPages, type PackSettings, packPages } from "../codecs/page-batch.js";
import { installNodeCodecs } from "./codecs.js";
import type { PageAnswer, PageJob } from "./page-workers.js";

/** The program of one worker thread: batches of pages come in, packed ones go out, memory is handed over. */
installNodeCodecs();

/** Whole pages of any size; little enough to stay in the CPU's cache until it is packed. */
const window = new Uint8Array(64 << 10);

// what fails here is an error of the thread; messages wait until somebody listens
void loadPack(workerData as PackSettings).then((pack) => {
  parentPort?.on("message", (job: PageJob) => {
    const answer = "pages" in job ? packPages(job.pages, job.pageSize, pack, job.into) : packFile(job, pack);
    parentPort?.postMessage(answer, moved(answer));
  });
});

function moved(answer: PageAnswer): ArrayBuffer[] {
  if (answer === undefined) return [];
  const { pages, data, sizes } = answer;
  return [...(pages === undefined ? [] : [pages.buffer]), data.buffer, sizes.buffer] as ArrayBuffer[];
}

function packFile(
  { file, length, pageSize, into }: Extract<PageJob, { file: unknown }>,
  pack: Awaited<ReturnType<typeof loadPack>>,
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
