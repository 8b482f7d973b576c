import { Socket } from "node:net";
import { workerData } from "node:worker_threads";

/** Nothing is ever sent through the pipe: it ends when the other side is gone. */
const line = new Socket({ fd: workerData as number, readable: true, writable: false });
const die = (): void => {
  process.kill(process.pid, "SIGKILL");
};
line.once("end", die).once("error", die).resume();
