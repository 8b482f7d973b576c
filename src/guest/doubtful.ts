import type { DoubtfulPart } from "./salvage.js";
import { SpanList } from "./spans.js";

/** Ranges of one rescue that are kept apart; beyond, the nearest are joined. */
const MOST_RANGES = 4096;

/** Why memory of a guest that ran while it was sent is doubtful. */
export const STALE = "may be older than the guest's last state: a lost part may have held a newer copy";

/** The same where nothing says whether the guest ran. */
export const STALE_IF_RUN =
  "may be older than the guest's last state if it ran while its memory was sent: the lost end may have held a newer copy";

/** What is said where pages came once, and a guest that is saved was most likely stopped before. */
export const FIRST_PASS =
  "memory ends in its first pass: if the guest ran while it was sent, what is given may be older than its last state";

/** Gathers memory that is doubtful for one reason as a bounded number of ranges. */
export class DoubtfulRanges {
  readonly #why: string;
  readonly #ranges = new SpanList(MOST_RANGES);

  /** @param why what speaks against the memory */
  constructor(why: string) {
    this.#why = why;
  }

  /** Adds guest-physical bytes, `end` exclusive; in ascending order it costs the least. */
  add(start: number, end: number): void {
    if (start < end) this.#ranges.add(start, end);
  }

  /** The ranges, ascending and disjoint; of those that were joined the reason says so. */
  parts(): DoubtfulPart[] {
    const ranges = this.#ranges.spans();
    const { gap } = this.#ranges;
    const why = gap === 0 ? this.#why : `${this.#why} (ranges up to ${gap} bytes apart are one)`;
    return ranges.map(({ start, end }) => ({ start, end, why }));
  }
}
