import { isMainThread, Worker } from "node:worker_threads";

/**
 * Loaded ahead of a program (`node --import`): the program dies with the worker that started it, however that ends.
 * An orphan would go on working on a job that another worker has got by then. The thread is heard when the program's
 * own event loop is blocked.
 */
const descriptor = process.env.GUESTSCOPE_FLEET_LIFELINE;

if (isMainThread && descriptor !== undefined) {
  new Worker(new URL("./lifeline-thread.js", import.meta.url), {
    workerData: Number(descriptor),
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2 },
  }).unref();
}
