import type { Hit } from "../guest/search.js";

const byAddress = (a: Hit, b: Hit): number => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0);

/** Hits that wait to be written: so many at a time, all of them by ascending address. */
export class HitBatch {
  readonly #most: number;
  readonly #write: (hits: readonly Hit[]) => Promise<void>;
  #waiting: Hit[] = [];

  /**
   * @param most so many are written together, about
   * @param write is given those of a batch by ascending address, none before those of the batch before
   */
  constructor(most: number, write: (hits: readonly Hit[]) => Promise<void>) {
    this.#most = most;
    this.#write = write;
  }

  /** Takes a hit: those of several patterns come mixed. */
  add(hit: Hit): void {
    this.#waiting.push(hit);
  }

  /** Writes what waits if it is enough. @param address no hit before it follows */
  async reached(address: bigint): Promise<void> {
    if (this.#waiting.length < this.#most) return;
    const waiting = this.#waiting.sort(byAddress);
    const later = waiting.findIndex((hit) => hit.address >= address);
    const end = later === -1 ? waiting.length : later;
    this.#waiting = waiting.slice(end);
    await this.#writeInBatches(waiting.slice(0, end));
  }

  /** Writes the rest. */
  async end(): Promise<void> {
    const waiting = this.#waiting.sort(byAddress);
    this.#waiting = [];
    await this.#writeInBatches(waiting);
  }

  /** A page of zeros, searched for zeros, has more hits than are to be written together. */
  async #writeInBatches(hits: readonly Hit[]): Promise<void> {
    for (let at = 0; at < hits.length; at += this.#most) await this.#write(hits.slice(at, at + this.#most));
  }
}
