/** Numbers [start, end), such as those of descriptors, of bytes, or addresses. */
export interface Span {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Spans by where they begin; neighbours are one, and where there are more than `most`, the nearest are joined. */
export class SpanList {
  readonly #most: number;
  readonly #touching: number;
  #spans: Span[] = [];
  #gap = 0;

  /** @param touching what two spans that are one may have between them */
  constructor(most: number, touching = 0) {
    this.#most = most;
    this.#touching = touching;
  }

  /** Takes a span; in ascending order it costs the least. */
  add(start: number, end: number): void {
    const last = this.#spans.at(-1);
    if (last !== undefined && last.start <= start && start <= last.end + this.#touching)
      this.#spans[this.#spans.length - 1] = { start: last.start, end: Math.max(last.end, end) };
    else this.#spans.push({ start, end });
    if (this.#spans.length > 2 * this.#most) this.#spans = this.spans();
  }

  /** At most `most` spans that have all that were taken; ascending, disjoint. */
  spans(): Span[] {
    const joined = join(this.#spans, this.#touching);
    const gaps = joined.slice(1).map(({ start }, i) => start - (joined[i]?.end ?? 0));
    const excess = joined.length - this.#most;
    if (excess <= 0) return joined;
    const gap = gaps.sort((a, b) => a - b)[excess - 1] ?? 0;
    this.#gap = Math.max(this.#gap, gap);
    return join(joined, gap);
  }

  /** What spans had between them that were joined because there were too many; 0: none were. */
  get gap(): number {
    return this.#gap;
  }
}

/** Makes one of each two spans that have at most so much between them. */
function join(spans: readonly Span[], gap: number): Span[] {
  const joined: { start: number; end: number }[] = [];
  for (const { start, end } of spans.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last !== undefined && start <= last.end + gap) last.end = Math.max(last.end, end);
    else joined.push({ start, end });
  }
  return joined;
}
