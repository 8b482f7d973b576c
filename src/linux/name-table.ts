/** Numbers by the hash of a name: chains, so that one name given a million times costs no more than as many names. */
export class NameTable {
  readonly #heads: Uint32Array;
  /** Next in the chain of an entry; entries count from 1, 0 ends. */
  readonly #next: Uint32Array;

  /** @param hashOf hash of entry 0 … `count` − 1; undefined for one without a name. */
  constructor(count: number, hashOf: (entry: number) => number | undefined) {
    this.#heads = new Uint32Array(2 ** Math.ceil(Math.log2(count + 2)));
    this.#next = new Uint32Array(count + 1);
    const mask = this.#heads.length - 1;
    // backwards: chains are in ascending order
    for (let entry = count - 1; entry >= 0; entry -= 1) {
      const hash = hashOf(entry);
      if (hash === undefined) continue;
      const slot = hash & mask;
      this.#next[entry + 1] = this.#heads[slot] ?? 0;
      this.#heads[slot] = entry + 1;
    }
  }

  /** Entries that may have this hash, ascending. */
  *candidates(hash: number): Iterable<number> {
    let at = this.#heads[hash & (this.#heads.length - 1)] ?? 0;
    for (; at !== 0; at = this.#next[at] ?? 0) yield at - 1;
  }
}
