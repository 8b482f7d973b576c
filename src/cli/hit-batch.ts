import { firstIndex } from "../binary/search.js";
import type { Hit } from "../guest/search.js";

/** Bytes of contexts to begin with; of a hit there are about as many as this has hits. */
const ROOM = 1 << 16;

/** Hits in few arrays: of thousands that wait, each as objects of its own, most would outlive what cleans up after them. */
class PackedHits {
  #addresses = new BigUint64Array(ROOM >> 6);
  /** Of each hit: its length, where in its context it begins, where that ends among all contexts. */
  #numbers = new Float64Array(3 * (ROOM >> 6));
  readonly #kinds: string[] = [];
  #contexts = new Uint8Array(ROOM);
  #used = 0;

  get length(): number {
    return this.#kinds.length;
  }

  push({ address, length, kind, context, contextStart }: Hit): void {
    const at = this.length;
    if (at === this.#addresses.length) {
      const [addresses, numbers] = [this.#addresses, this.#numbers];
      this.#addresses = new BigUint64Array(2 * at);
      this.#addresses.set(addresses);
      this.#numbers = new Float64Array(6 * at);
      this.#numbers.set(numbers);
    }
    const end = this.#used + context.length;
    if (end > this.#contexts.length) {
      const contexts = this.#contexts;
      this.#contexts = new Uint8Array(Math.max(end, 2 * contexts.length));
      this.#contexts.set(contexts);
    }
    this.#contexts.set(context, this.#used);
    this.#used = end;
    this.#addresses[at] = address;
    this.#numbers.set([length, contextStart, end], 3 * at);
    this.#kinds.push(kind);
  }

  addressAt(index: number): bigint {
    return this.#addresses[index] ?? 0n;
  }

  at(index: number): Hit {
    const [length = 0, contextStart = 0, end = 0] = this.#numbers.subarray(3 * index, 3 * index + 3);
    const start = index === 0 ? 0 : (this.#numbers[3 * index - 1] ?? 0);
    const kind = this.#kinds[index] ?? "";
    return {
      address: this.addressAt(index),
      length,
      kind,
      context: this.#contexts.subarray(start, end),
      contextStart,
    };
  }

  /** Indexes of all by ascending address, and as they came where it is the same. */
  order(): Uint32Array {
    const order = Uint32Array.from({ length: this.length }, (_, i) => i);
    return order.sort((a, b) => {
      const [left, right] = [this.addressAt(a), this.addressAt(b)];
      return left < right ? -1 : left > right ? 1 : a - b;
    });
  }
}

/** Some hits by ascending address. */
export class HitRun {
  readonly #hits: PackedHits;
  readonly #order: Uint32Array;

  constructor(hits: PackedHits, order: Uint32Array) {
    this.#hits = hits;
    this.#order = order;
  }

  get length(): number {
    return this.#order.length;
  }

  addresses(): readonly bigint[] {
    return Array.from(this.#order, (index) => this.#hits.addressAt(index));
  }

  /** Those from the n-th to before another. */
  slice(from: number, to: number): readonly Hit[] {
    return Array.from(this.#order.subarray(from, to), (index) => this.#hits.at(index));
  }
}

/** Hits that wait to be written: so many at a time, all of them by ascending address. */
export class HitBatch {
  readonly #most: number;
  readonly #write: (hits: HitRun) => Promise<void>;
  #waiting = new PackedHits();

  /**
   * @param most so many are written together, about
   * @param write is given those of a batch by ascending address, none before those of the batch before
   */
  constructor(most: number, write: (hits: HitRun) => Promise<void>) {
    this.#most = most;
    this.#write = write;
  }

  /** Takes a hit: those of several patterns come mixed. */
  add(hit: Hit): void {
    this.#waiting.push(hit);
  }

  /** Writes what waits if it is enough. @param address no hit before it follows */
  async reached(address: bigint): Promise<void> {
    if (this.#waiting.length >= this.#most) await this.#writeBefore(address);
  }

  /** Writes the rest. */
  async end(): Promise<void> {
    await this.#writeBefore(undefined);
  }

  async #writeBefore(address: bigint | undefined): Promise<void> {
    const hits = this.#waiting;
    const order = hits.order();
    const end =
      address === undefined
        ? order.length
        : firstIndex(order.length, (i) => hits.addressAt(order[i] ?? 0) >= address);
    this.#waiting = new PackedHits();
    for (const index of order.subarray(end)) this.#waiting.push(hits.at(index));
    // a page of zeros, searched for zeros, has more hits than are to be written together
    for (let at = 0; at < end; at += this.#most)
      await this.#write(new HitRun(hits, order.subarray(at, Math.min(at + this.#most, end))));
  }
}
