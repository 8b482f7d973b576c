import { parentPort, workerData } from "node:worker_threads";
import { CODEC_NAMES, loadCompressor } from "../codecs/codec.js";
import { type PackSettings, packPages } from "../codecs/page-batch.js";
import { installNodeCodecs } from "./codecs.js";
import type { PageJob } from "./page-workers.js";

/** The program of one worker thread: batches of pages come in, packed ones go out, memory is handed over. */
const settings = workerData as PackSettings;
installNodeCodecs();
const name = CODEC_NAMES.find((known) => known === settings.codec);
const compress = name === undefined ? undefined : await loadCompressor(name);
parentPort?.on("message", ({ pages, into }: PageJob) => {
  const packed = packPages(pages, settings, compress, into);
  const moved = [pages.buffer, packed.data.buffer, packed.sizes.buffer] as ArrayBuffer[];
  parentPort?.postMessage(packed, moved);
});
