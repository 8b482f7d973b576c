/*
 * A guest that runs while its memory is sent is gone through several times, each pass from low pages to high ones. A lost
 * part between pages a < b of one pass held pages between them; that both are of one pass is certain only where a pass
 * that was lost whole would take more bytes than are lost.
 */

/** Pages of which a lost part may have held newer copies than those before it. */
export interface StalePages {
  /** First page. */
  readonly from: number;
  /** Exclusive; Infinity: no bound is known. */
  readonly to: number;
  /** Offset in the input: older copies come before it. */
  readonly at: number;
}

/** Every pass that is seen has so many times the bytes of a lost part that none was lost whole in it. */
const PASS_FACTOR = 4;
/** Lost parts that are kept apart; beyond, nothing bounds them. */
const MOST_LOST = 64;

interface Lost {
  readonly at: number;
  readonly bytes: number;
  /** Highest page of the pass before it; of the first page after it, where one came. */
  readonly after: number;
  before: number;
  readonly pass: number;
  /** Bytes of its pass that follow it. */
  following: number;
}

/** Follows the order in which pages are sent, for what a lost part may have held. */
export class SentPasses {
  /** The highest page of the pass at hand. */
  #highest = -1;
  #pass = 0;
  /** Where the pass at hand begins; bytes of it that are lost. */
  #start = -1;
  #lostBytes = 0;
  #least = Number.POSITIVE_INFINITY;
  #isOrdered = true;
  readonly #lost: Lost[] = [];
  /** Where the last lost part is that isn't kept apart. */
  #unbounded = -1;
  readonly #within: StalePages[] = [];
  /** A lost part that no page followed yet. */
  #open: Lost | undefined;

  /**
   * Notes pages that were sent in ascending order.
   * @param first the lowest @param last the highest @param offset where their record begins
   */
  note(first: number, last: number, offset: number): void {
    if (this.#start < 0) this.#start = offset;
    if (first <= this.#highest) this.#end(offset);
    if (this.#open !== undefined) {
      this.#open.before = first;
      this.#open = undefined;
    }
    this.#highest = last;
  }

  /** Whether pages came, and none of them again. */
  get isOnePass(): boolean {
    return this.#start >= 0 && this.#pass === 0;
  }

  /** Notes a record whose pages are in no order: nothing bounds then what a lost part held. */
  noteUnordered(): void {
    this.#isOrdered = false;
    this.#open = undefined;
  }

  /** Notes a lost part of so many bytes at an offset, after what was noted. */
  lose(at: number, bytes: number): void {
    if (this.#open !== undefined || this.#lost.length === MOST_LOST) {
      this.#unbounded = Math.max(this.#unbounded, at);
      return;
    }
    const lost = {
      at,
      bytes,
      after: this.#highest,
      before: Number.POSITIVE_INFINITY,
      pass: this.#pass,
      following: 0,
    };
    this.#lostBytes += bytes;
    this.#lost.push(lost);
    this.#open = lost;
  }

  /** Notes pages of a record, between others of it, whose entries are lost: `from` to `to`, exclusive. */
  loseWithin(from: number, to: number, at: number): void {
    if (this.#within.length === MOST_LOST) this.#unbounded = Math.max(this.#unbounded, at);
    else this.#within.push({ from, to, at });
  }

  /**
   * What lost parts may have held newer copies of, once memory ends at an offset; nothing where the guest didn't run.
   * @param isLive whether it may have run although only one pass is seen
   */
  stale(end: number, isLive = false): StalePages[] {
    if (this.#pass === 0 && !isLive) return [];
    const open = this.#open;
    this.#end(end);
    const bounded: StalePages[] = [...this.#within];
    let unbounded = this.#unbounded;
    for (const lost of this.#lost) {
      if (lost !== open && this.#isOrdered && this.#isOfOnePass(lost))
        bounded.push({ from: lost.after + 1, to: lost.before, at: lost.at });
      else unbounded = Math.max(unbounded, lost.at);
    }
    return unbounded < 0
      ? bounded
      : [
          { from: 0, to: Number.POSITIVE_INFINITY, at: unbounded },
          ...bounded.filter(({ at }) => at > unbounded),
        ];
  }

  #isOfOnePass({ bytes, after, before, pass, following }: Lost): boolean {
    if (before <= after) return false;
    // a page of the first pass comes for the first time: all that follow it in the pass would have been lost
    return (pass === 0 && following > bytes) || this.#least >= PASS_FACTOR * bytes;
  }

  /** The pass at hand ends at an offset. */
  #end(offset: number): void {
    const size = offset - this.#start - this.#lostBytes;
    this.#least = Math.min(this.#least, size);
    for (const lost of this.#lost)
      if (lost.pass === this.#pass) lost.following = offset - lost.at - lost.bytes;
    this.#pass += 1;
    this.#start = offset;
    this.#lostBytes = 0;
    this.#highest = -1;
  }
}
