import { viewOf } from "../../binary/layout.js";
import type { MaybePromise } from "../../io/byte-source.js";
import type { AddressSpace } from "../address-space.js";
import { absent, damaged, hex } from "../rules.js";
import { decodeOrcEntry, type OrcEntry, type OrcLayout } from "./orc.js";
import { LINUX_STACK_RULES } from "./rules.js";

/** Entries that a table has at most: a kernel's has some 400,000. */
const MOST_ENTRIES = 1 << 24;

/** Where one table is: addresses of its two arrays. */
export interface OrcTablePlace {
  /** Distances, an s32 each, from their own places to code, ascending. */
  readonly ips: bigint;
  /** The entries in the same order. */
  readonly entries: bigint;
  readonly count: number;
}

/** A table of unwind entries in kernel memory, looked into where it is asked. */
export class OrcTable {
  readonly #space: Pick<AddressSpace, "read">;
  readonly #layout: OrcLayout;
  readonly #place: OrcTablePlace;

  constructor(space: Pick<AddressSpace, "read">, layout: OrcLayout, place: OrcTablePlace) {
    this.#space = space;
    this.#layout = layout;
    this.#place = { ...place, count: Math.min(place.count, MOST_ENTRIES) };
  }

  /**
   * The last entry at or before an address of code; undefined when the first one is after it.
   * @throws AbsentError `linux/stack/no-tables`, FormatError `linux/stack/damaged-tables`
   */
  async find(address: bigint): Promise<OrcEntry | undefined> {
    let low = 0;
    let high = this.#place.count;
    // addresses met on both sides must close in: a table that jumps to and fro is found out by them
    let below: bigint | undefined;
    let above: bigint | undefined;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#addressOf(middle);
      const ip = at instanceof Promise ? await at : at;
      if ((below !== undefined && ip < below) || (above !== undefined && ip > above)) {
        throw damaged(LINUX_STACK_RULES.badTables, `unwind entry ${middle} for ${hex(ip)} is out of order`);
      }
      if (ip <= address) {
        below = ip;
        low = middle + 1;
      } else {
        above = ip;
        high = middle;
      }
    }
    return low === 0 ? undefined : this.#entry(low - 1);
  }

  /** The address of code that an entry begins at. */
  #addressOf(index: number): MaybePromise<bigint> {
    const va = this.#place.ips + BigInt(index * 4);
    const raw = new Uint8Array(4);
    const take = (n: number): bigint => {
      if (n === 4) return BigInt.asUintN(64, va + BigInt(viewOf(raw).getInt32(0, true)));
      throw absent(LINUX_STACK_RULES.noTables, `unwind entry ${index} at ${hex(va)} is not in the input`);
    };
    const n = this.#space.read(va, raw);
    return n instanceof Promise ? n.then(take) : take(n);
  }

  async #entry(index: number): Promise<OrcEntry> {
    const va = this.#place.entries + BigInt(index * this.#layout.size);
    const bytes = new Uint8Array(this.#layout.size);
    if ((await this.#space.read(va, bytes)) < bytes.length) {
      throw absent(LINUX_STACK_RULES.noTables, `unwind entry ${index} at ${hex(va)} is not in the input`);
    }
    return decodeOrcEntry(this.#layout, bytes);
  }
}
