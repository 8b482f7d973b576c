import type { Method, Methods, Problem, Reply } from "../../../src/open/session/protocol.js";

export type Progress = (done: number, total: number | undefined, phase: string) => void;

export interface CallOptions {
  readonly onProgress?: Progress;
  /** Takes bytes of an output, in order. */
  readonly onPiece?: (bytes: Uint8Array) => void | Promise<void>;
}

/** Whoever answers the protocol: a worker, or the server of this page. */
export interface Client {
  call<M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
    options?: CallOptions,
  ): Promise<Methods[M]["result"]>;
  close(): void;
}

/** An answer that is an error, as data. */
class ProblemError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.name = "ProblemError";
    this.problem = problem;
  }
}

export function asProblem(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  const message = error instanceof Error ? error.message : String(error);
  return { severity: "error", code: "viewer/internal", message };
}

interface Waiting {
  readonly options: CallOptions;
  /** Pieces are handed on one after another; the result waits for the last. */
  tail: Promise<void>;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** Calls in flight, by number. */
export class Pending {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  begin(options: CallOptions): { readonly id: number; readonly result: Promise<unknown> } {
    const id = this.#next;
    this.#next += 1;
    const result = new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { options, tail: Promise.resolve(), resolve, reject });
    });
    return { id, result };
  }

  reply(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    switch (reply.kind) {
      case "progress":
        waiting.options.onProgress?.(reply.done, reply.total, reply.phase);
        return;
      case "piece": {
        const { bytes } = reply;
        waiting.tail = waiting.tail.then(() => waiting.options.onPiece?.(bytes));
        waiting.tail.catch(() => undefined);
        return;
      }
      case "result":
        this.#waiting.delete(reply.id);
        waiting.tail.then(
          () => waiting.resolve(reply.result),
          (error: unknown) => waiting.reject(error),
        );
        return;
      default:
        this.#waiting.delete(reply.id);
        waiting.reject(new ProblemError(reply.problem));
    }
  }

  /** Ends all calls: nobody will answer them. */
  fail(problem: Problem): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const one of waiting) one.reject(new ProblemError(problem));
  }
}
