import type { AbsentReason } from "./absent.js";

/** Frames that a source announces without contents, `end` exclusive. */
export interface AnnouncedSpan {
  readonly start: number;
  readonly end: number;
  readonly reason: AbsentReason;
}

/**
 * Frames announced without contents, as spans: a small file may announce all the memory there can be, which an index of
 * pages would grow with. Where spans overlap the one that starts lower counts.
 */
export class Announced {
  readonly #spans: AnnouncedSpan[] = [];
  #settled: readonly AnnouncedSpan[] = [];
  #isSettled = true;

  get isEmpty(): boolean {
    return this.#spans.length === 0;
  }

  /** Announces frames [start, end). */
  add(start: number, end: number, reason: AbsentReason): void {
    if (end <= start) return;
    this.#spans.push({ start, end, reason });
    this.#isSettled = false;
  }

  /** Ascending, disjoint. */
  get spans(): readonly AnnouncedSpan[] {
    if (this.#isSettled) return this.#settled;
    const settled: AnnouncedSpan[] = [];
    let end = 0;
    for (const span of this.#spans.toSorted((a, b) => a.start - b.start)) {
      const start = Math.max(span.start, end);
      if (start >= span.end) continue;
      settled.push({ ...span, start });
      ({ end } = span);
    }
    this.#settled = settled;
    this.#isSettled = true;
    return settled;
  }
}
