import type { DoubtfulPart } from "./salvage.js";

/** Ranges of one rescue that are kept apart; beyond, near ones are joined. */
const MOST_RANGES = 4096;

/** Why memory of a guest that ran while it was sent is doubtful. */
export const STALE = "may be older than the guest's last state: a lost part may have held a newer copy";

/** Gathers memory that is doubtful for one reason as a bounded number of ranges. */
export class DoubtfulRanges {
  readonly #why: string;
  #ranges: { start: number; end: number }[] = [];
  /** Ranges with no more bytes between them are one. */
  #gap = 0;

  /** @param why what speaks against the memory */
  constructor(why: string) {
    this.#why = why;
  }

  /** Adds guest-physical bytes, `end` exclusive; `start` is never less than that of one that was added before. */
  add(start: number, end: number): void {
    if (start >= end) return;
    const last = this.#ranges.at(-1);
    if (last !== undefined && start - last.end <= this.#gap) {
      last.end = Math.max(last.end, end);
      return;
    }
    this.#ranges.push({ start, end });
    while (this.#ranges.length > MOST_RANGES) this.#widen();
  }

  /** The ranges, ascending and disjoint; of those that were joined the reason says so. */
  parts(): DoubtfulPart[] {
    const why =
      this.#gap === 0 ? this.#why : `${this.#why} (ranges less than ${this.#gap} bytes apart are one)`;
    return this.#ranges.map(({ start, end }) => ({ start, end, why }));
  }

  #widen(): void {
    this.#gap = this.#gap === 0 ? 0x1000 : this.#gap * 2;
    const joined: { start: number; end: number }[] = [];
    for (const range of this.#ranges) {
      const last = joined.at(-1);
      if (last !== undefined && range.start - last.end <= this.#gap) last.end = Math.max(last.end, range.end);
      else joined.push(range);
    }
    this.#ranges = joined;
  }
}
