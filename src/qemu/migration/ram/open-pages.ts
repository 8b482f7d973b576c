/** Pages that are kept; lost parts of one stream are no more. */
const MOST_PAGES = 10_000;

/**
 * Pages whose contents end where no record is: either the next record is damaged, or bytes are missing from the page's
 * own, or were inserted. A later copy of the page is not concerned, a difference to it is.
 */
export class OpenPages {
  /** Frames of such pages. */
  readonly shifted = new Set<number>();
  #page = -1;
  #start = -1;
  #end = -1;

  /** Notes a page whose contents came whole, as its length says: from its record's offset up to `end`, exclusive. */
  take(page: number, start: number, end: number): void {
    this.came(page);
    this.takeDelta(page, start, end);
  }

  /** Notes a difference to a page; as `take`, but what the page was before counts. */
  takeDelta(page: number, start: number, end: number): void {
    this.#page = page;
    this.#start = start;
    this.#end = end;
  }

  /** Notes a page whose contents need no record after them; `count` of them that follow one another. */
  came(page: number, count = 1): void {
    if (this.shifted.size > 0) for (let i = 0; i < count; i += 1) this.shifted.delete(page + i);
  }

  /** Notes a record that proves that what is before it has its bytes. */
  close(): void {
    this.#end = -1;
  }

  /** Notes that no record is at an offset. @returns where the page's record begins whose contents end there */
  loseNext(at: number): number | undefined {
    if (at !== this.#end || this.shifted.size === MOST_PAGES) return undefined;
    this.shifted.add(this.#page);
    this.#end = -1;
    return this.#start;
  }
}
