import { parentPort, workerData } from "node:worker_threads";
import { loadPack, type PackSettings, packPages } from "../codecs/page-batch.js";
import { installNodeCodecs } from "./codecs.js";
import type { PageJob } from "./page-workers.js";

/** The program of one worker thread: batches of pages come in, packed ones go out, memory is handed over. */
installNodeCodecs();
const pack = await loadPack(workerData as PackSettings);
parentPort?.on("message", ({ pages, pageSize, into }: PageJob) => {
  const packed = packPages(pages, pageSize, pack, into);
  const moved = [pages.buffer, packed.data.buffer, packed.sizes.buffer] as ArrayBuffer[];
  parentPort?.postMessage(packed, moved);
});
