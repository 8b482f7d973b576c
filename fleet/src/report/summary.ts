import { errorCodes, type Result, type Status } from "../jobs/outcome.js";

/** Inputs by status and by code of error. */
export class Summary {
  readonly counts: Record<Status, number> = { good: 0, bad: 0, failed: 0 };
  /** Bytes of all inputs. */
  bytes = 0;
  /** Seconds of work, added up over all jobs. */
  seconds = 0;
  readonly #codes = new Map<string, number>();
  #system = 0;

  add(result: Result): void {
    this.counts[result.status] += 1;
    this.bytes += result.size ?? 0;
    this.seconds += result.seconds;
    if (result.fault === "system") this.#system += 1;
    for (const code of errorCodes(result)) this.#codes.set(code, (this.#codes.get(code) ?? 0) + 1);
  }

  get total(): number {
    return this.counts.good + this.counts.bad + this.counts.failed;
  }

  /** Inputs that failed for a reason outside them. */
  get systemFailures(): number {
    return this.#system;
  }

  /** Codes of errors with the inputs that have them, most frequent first. */
  get codes(): readonly (readonly [string, number])[] {
    return [...this.#codes].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  }
}
