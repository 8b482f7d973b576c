import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { failure, type Outcome } from "../jobs/outcome.js";
import { exceeded } from "./exceeded.js";
import { heapOptions, type Limits, residentMiB, watch } from "./limits.js";
import type { VerifyRequest } from "./verify-one.js";

const PROGRAM = fileURLToPath(new URL("./verify-process.js", import.meta.url));
const LIFELINE = new URL("./lifeline.js", import.meta.url).href;
/** A process is replaced after so many inputs: what one leaves in its memory doesn't add up. */
const INPUTS_PER_PROCESS = 2000;

interface Member {
  readonly child: ChildProcess;
  done: number;
}

/**
 * Processes that verify, each one input at a time; started when needed and used again, since starting one takes as
 * long as verifying dozens of small saves. An input that crashes, hangs or eats memory costs its own process only.
 */
export class VerifyPool {
  readonly #limits: Limits;
  readonly #idle: Member[] = [];
  readonly #all = new Set<Member>();
  readonly #waiting: (() => void)[] = [];
  #free: number;
  #closed = false;

  /** @param size processes at the same time */
  constructor(size: number, limits: Limits) {
    this.#free = size;
    this.#limits = limits;
  }

  /** Waits for a free process. @throws ProcessorLost when the process ended without exceeding a limit */
  async verify(request: VerifyRequest): Promise<Outcome> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await this.#ask(this.#idle.pop() ?? this.#start(), request);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  #start(): Member {
    const child = fork(PROGRAM, {
      execArgv: [...heapOptions(this.#limits), "--import", LIFELINE],
      env: { ...process.env, GUESTSCOPE_FLEET_LIFELINE: "4" },
      stdio: ["ignore", "ignore", "ignore", "ipc", "pipe"],
      serialization: "json",
    });
    const member: Member = { child, done: 0 };
    this.#all.add(member);
    child.once("exit", () => {
      this.#all.delete(member);
      const at = this.#idle.indexOf(member);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    // both tell that the process is gone, as "exit" does
    child.on("error", () => undefined);
    child.stdio[4]?.on("error", () => undefined);
    return member;
  }

  async #ask(member: Member, request: VerifyRequest): Promise<Outcome> {
    const { child } = member;
    const stop = watch(child, this.#limits);
    const answer = new AbortController();
    try {
      const answered = once(child, "message", { signal: answer.signal }) as Promise<[Outcome]>;
      const ended = once(child, "exit", { signal: answer.signal }) as Promise<[number | null, string | null]>;
      answered.catch(() => undefined);
      ended.catch(() => undefined);
      child.send(request);
      const first = await Promise.race([answered, ended]);
      const [outcome, signal] = first as [Outcome | number | null, string | null | undefined];
      if (typeof outcome === "object" && outcome !== null) {
        member.done += 1;
        if (this.#isFit(member)) this.#idle.push(member);
        else child.disconnect();
        return outcome;
      }
      const excess = stop();
      if (excess !== undefined) return exceeded(excess, this.#limits);
      throw new ProcessorLost(signal === null || signal === undefined ? `status ${String(outcome)}` : signal);
    } finally {
      stop();
      answer.abort();
    }
  }

  /** What an input left in a process must not count against the next one. */
  #isFit({ child, done }: Member): boolean {
    const grown = child.pid !== undefined && residentMiB(child.pid) > this.#limits.memory / 2;
    return done < INPUTS_PER_PROCESS && !grown && !this.#closed;
  }

  /** Ends the processes; those at work are killed. */
  close(): void {
    this.#closed = true;
    for (const { child } of this.#all) child.kill("SIGKILL");
  }
}

/** The process that worked on an input ended without an answer. */
export class ProcessorLost extends Error {
  /** @param how `SIGSEGV`, `status 134` */
  constructor(how: string) {
    super(`the process that worked on it ended without an answer (${how})`);
    this.name = new.target.name;
  }

  /** What is reported when it happens each time. */
  get outcome(): Outcome {
    return failure("fleet/processor-lost", this.message, "input");
  }
}
