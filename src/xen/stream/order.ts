import type { LostPart } from "../../guest/salvage.js";
import { SentPasses, type StalePages } from "../../guest/sent-passes.js";
import { recordHeader } from "../libxc/layout.js";
import type { StreamRecord } from "../record.js";
import type { StreamSalvage } from "./salvage.js";

/**
 * The order of a stream's pages around its lost parts. The format promises none; senders go through memory in passes, and
 * a stream in which any batch doesn't ascend bounds nothing.
 */
export class StreamOrder {
  /** Records that may have got bytes that aren't their own: bytes of the source that is read. */
  readonly shifted: readonly { readonly start: number; readonly end: number }[];
  readonly #passes = new SentPasses();
  readonly #lost: readonly LostPart[];
  readonly #offsetOf: (offset: number) => number;
  #next = 0;
  /** Where the last record of pages ends; where state follows it. */
  #end = 0;
  #stateAt = Number.POSITIVE_INFINITY;
  #isFirstPassCut = false;

  /** @param salvage what is read of a damaged input */
  constructor(salvage: StreamSalvage | undefined) {
    // a type alone that is damaged has held no pages
    this.#lost = (salvage?.lost ?? []).filter(({ start, end }) => end - start >= recordHeader.size);
    this.#offsetOf = salvage?.offsetOf ?? ((offset) => offset);
    this.shifted = (salvage?.lost ?? []).flatMap(({ start, doubtfulFrom }) =>
      doubtfulFrom === undefined ? [] : [{ start: this.#offsetOf(doubtfulFrom), end: this.#offsetOf(start) }],
    );
  }

  /** Notes a record's pages. @param pfns as its entries have them */
  note({ offset, bodyOffset, length }: StreamRecord, pfns: ArrayLike<number>): void {
    this.#loseBefore(offset);
    this.#end = bodyOffset + length;
    this.#stateAt = Number.POSITIVE_INFINITY;
    let last = -1;
    for (let i = 0; i < pfns.length; i += 1) {
      const pfn = pfns[i] ?? 0;
      if (pfn <= last) return this.#passes.noteUnordered();
      last = pfn;
    }
    if (last >= 0) this.#passes.note(pfns[0] ?? 0, last, offset);
  }

  /** Notes damaged entries of a record: their pages are between two others, exclusive. */
  loseWithin(from: number, to: number, offset: number): void {
    this.#passes.loseWithin(from, to, offset);
  }

  /** Notes a record that comes after memory, if pages came before it. */
  noteState(offset: number): void {
    if (this.#end > 0) this.#stateAt = Math.min(this.#stateAt, offset);
  }

  /**
   * Pages that may be older than the guest's last state; offsets as in the source that is read.
   * @param cutAt where the input ends before the stream does
   */
  stale(cutAt?: number): StalePages[] {
    this.#loseBefore(this.#stateAt);
    if (cutAt !== undefined && this.#stateAt === Number.POSITIVE_INFINITY) {
      this.#isFirstPassCut = this.#passes.isOnePass;
      this.#passes.lose(cutAt, 0);
    }
    return this.#passes.stale(this.#end);
  }

  /** Whether the input ends within the first pass; known after `stale`. */
  get isFirstPassCut(): boolean {
    return this.#isFirstPassCut;
  }

  #loseBefore(offset: number): void {
    for (; this.#next < this.#lost.length; this.#next += 1) {
      const part = this.#lost[this.#next];
      const start = part === undefined ? offset : this.#offsetOf(part.start);
      if (part === undefined || start >= offset) return;
      this.#passes.lose(start, part.end - part.start);
    }
  }
}
