const PFNS_PER_PART = 1 << 15;

/** A set of pfns as bits, in parts that exist once a member falls into them. */
export class PfnSet {
  readonly #parts: (Uint8Array | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(pfn: number): void {
    const index = Math.floor(pfn / PFNS_PER_PART);
    let part = this.#parts[index];
    if (part === undefined) {
      part = new Uint8Array(PFNS_PER_PART / 8);
      this.#parts[index] = part;
    }
    const at = (pfn % PFNS_PER_PART) >> 3;
    const bit = 1 << (pfn & 7);
    const byte = part[at] ?? 0;
    if ((byte & bit) === 0) this.#size += 1;
    part[at] = byte | bit;
  }

  has(pfn: number): boolean {
    const byte = this.#parts[Math.floor(pfn / PFNS_PER_PART)]?.[(pfn % PFNS_PER_PART) >> 3] ?? 0;
    return (byte & (1 << (pfn & 7))) !== 0;
  }
}
