import type { RamIndex } from "./index.js";
import { LOST } from "./blocks.js";

/** Pages of a chunk of the set. */
const CHUNK = 1 << 15;

/** Ranges of lost pages kept apart; beyond, any page may be lost. */
const MOST_LOST = 32;

/** Pages by number; memory follows what is in it. */
class PageSet {
  readonly #chunks = new Map<number, Uint8Array>();

  add(page: number): void {
    const number = Math.floor(page / CHUNK);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) this.#chunks.set(number, (chunk = new Uint8Array(CHUNK / 8)));
    const bit = page % CHUNK;
    chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) | (1 << (bit & 7));
  }

  /** Takes out pages from `from` to `to`, exclusive. */
  remove(from: number, to: number): void {
    for (const [number, chunk] of this.#chunks) {
      const start = number * CHUNK;
      if (start >= to || start + CHUNK <= from) continue;
      for (let page = Math.max(from, start); page < Math.min(to, start + CHUNK); page += 1) {
        const bit = page - start;
        chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) & ~(1 << (bit & 7));
      }
    }
  }

  has(page: number): boolean {
    const bit = page % CHUNK;
    return (((this.#chunks.get(Math.floor(page / CHUNK))?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) !== 0;
  }
}

/** Every round that is seen has so many times the bytes of a lost part that none was lost whole in it. */
const ROUND_FACTOR = 4;

/** A lost part within memory. */
export interface Joint {
  readonly bytes: number;
  /** Where reading goes on. */
  readonly offset: number;
  /** Number of the round before it. */
  readonly round: number;
}

/** What the order of addresses says of damaged records: within a round they ascend, each page once. */
export class RecordOrder {
  readonly #index: RamIndex;
  #last = -1;
  #before = -1;
  /** Pages that lost parts may have sent. */
  #lost: { readonly from: number; readonly to: number }[] = [];
  /** Those of them that came whole since. */
  readonly #since = new PageSet();
  /** Pages that came whole since the latest lost part. */
  #sinceLast = new PageSet();
  readonly #joints: Joint[] = [];
  /** A part was lost that nothing bounds. */
  #isUnbounded = false;

  constructor(index: RamIndex) {
    this.#index = index;
  }

  /** Whether a page comes before the one that came last, so that `settle` must decide. */
  isBack(page: number): boolean {
    return page <= this.#last;
  }

  /**
   * Decides about a page that comes before the last one: a new round, or one of the two has a damaged address. False: it
   * is this page. @param next the page that follows it
   */
  settle(page: number, next: number | undefined, firstRound: boolean): boolean {
    const [before, last] = [this.#before, this.#last];
    const isBetween = before >= 0 && page > before && (firstRound || page === before + 2);
    if (isBetween) {
      this.#index.lost(last, LOST.order);
      if (!firstRound) this.#index.lost(before + 1, LOST.order);
      this.#last = before;
      return true;
    }
    const isAhead = next !== undefined && next > last && (firstRound || next === last + 2);
    if (isAhead && !firstRound) this.#index.lost(last + 1, LOST.order);
    return !isAhead;
  }

  /** Notes a page that came; `count` of them that follow one another. */
  came(page: number, count = 1): void {
    this.#before = count > 1 ? page + count - 2 : this.#last;
    this.#last = page + count - 1;
  }

  /** Notes a page that came whole. */
  whole(page: number, count = 1): void {
    if (this.#lost.length === 0) return;
    for (let i = 0; i < count; i += 1) {
      this.#since.add(page + i);
      this.#sinceLast.add(page + i);
    }
  }

  /** Whether a difference can't be applied to a page, since one before it may be lost. */
  lacks(page: number): boolean {
    return this.#lost.some(({ from, to }) => page >= from && page < to) && !this.#since.has(page);
  }

  /**
   * Notes a lost part that reading goes on after with a page (-1: unknown). It may have sent any page after the last one
   * and before this one, by way of the end of the round where that comes first; `any`: of a whole round.
   */
  lose(page: number, any: boolean, joint: Joint): void {
    const last = this.#last;
    this.#sinceLast = new PageSet();
    if (any || page <= last || this.#joints.length === MOST_LOST) this.#isUnbounded = true;
    else this.#joints.push(joint);
    if (any || page < 0 || this.#lost.length > MOST_LOST) this.#lose(0, Number.POSITIVE_INFINITY);
    else if (page > last) this.#lose(last + 1, page);
    else {
      this.#lose(last + 1, Number.POSITIVE_INFINITY);
      this.#lose(0, page);
    }
    this.#before = -1;
    this.#last = page < 0 ? -1 : page - 1;
  }

  /**
   * Which pages a lost part may have held newer copies of. That a part is between two pages of one round is certain
   * only where a round that was lost whole would take more bytes than are lost.
   * @param rounds where rounds begin @param end where memory ends
   */
  stale(rounds: readonly { readonly offset: number }[], end: number): (page: number) => boolean {
    const ends = [...rounds.slice(1).map(({ offset }) => offset), end];
    const lostIn = (i: number): number =>
      this.#joints.reduce((sum, { bytes, round }) => (round === i ? sum + bytes : sum), 0);
    let least = Number.POSITIVE_INFINITY;
    for (const [i, { offset }] of rounds.entries())
      least = Math.min(least, (ends[i] ?? end) - offset - lostIn(i));
    const isBounded = this.#joints.every(
      ({ bytes, offset, round }) =>
        least >= ROUND_FACTOR * bytes ||
        // a page of the first round comes for the first time: all that follow it in the round would have been lost
        (round === 0 && (ends[0] ?? end) - offset > bytes),
    );
    return this.#isUnbounded || !isBounded
      ? (page) => !this.#sinceLast.has(page)
      : (page) => this.lacks(page);
  }

  #lose(from: number, to: number): void {
    if (to === Number.POSITIVE_INFINITY && from === 0) this.#lost = [];
    this.#lost.push({ from, to });
    this.#since.remove(from, to);
  }
}
