import type { Method, Methods, Reply } from "../../../src/open/session/protocol.js";
import { type CallOptions, type Client, Pending } from "./client.js";

/** What a worker opens: a file of this computer, or one on a server. */
export type WorkerInput =
  | { readonly kind: "blob"; readonly blob: Blob; readonly name: string }
  | { readonly kind: "url"; readonly url: string; readonly name: string };

/**
 * A session in a worker of its own. A worker that dies ends the calls that it had and is started again with the next
 * one.
 */
export class WorkerClient implements Client {
  readonly #input: WorkerInput;
  readonly #onDeath: (message: string) => void;
  readonly #pending = new Pending();
  #worker: Worker | undefined;

  constructor(input: WorkerInput, onDeath: (message: string) => void) {
    this.#input = input;
    this.#onDeath = onDeath;
  }

  call<M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
    options: CallOptions = {},
  ): Promise<Methods[M]["result"]> {
    const worker = (this.#worker ??= this.#start());
    const { id, result } = this.#pending.begin(options);
    worker.postMessage({ id, method, argument });
    return result as Promise<Methods[M]["result"]>;
  }

  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#pending.fail({ severity: "error", code: "viewer/closed", message: "the file was closed" });
  }

  #start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    const died = (message: string): void => {
      if (this.#worker !== worker) return;
      worker.terminate();
      this.#worker = undefined;
      this.#pending.fail({ severity: "error", code: "viewer/worker-died", message });
      this.#onDeath(message);
    };
    worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => this.#pending.reply(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      died(
        event.message === "" ? "the part that reads the file could not be loaded or ended" : event.message,
      );
    });
    worker.addEventListener("messageerror", () => died("an answer could not be taken over"));
    worker.postMessage({ start: this.#input });
    return worker;
  }
}
