import { findRun } from "../../../src/open/session/memory-table.js";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import type { Client } from "../session/client.js";

const PAGE = 4096;
/** Pages asked for in one call: the picture fills from coarse to fine. */
const BATCH = 256;
/** Pages remembered. */
const MOST = 1 << 17;

export interface Sample {
  /** 0…255 for 0…8 bits a byte. */
  readonly entropy: number;
  /** 0…255. */
  readonly text: number;
}

/** Entropy and text of pages, asked for as they are looked at and remembered. */
export class PageSamples {
  readonly #client: Client;
  readonly #table: MemoryTable;
  /** Page number → entropy * 256 + text; -1: not known. */
  readonly #known = new Map<number, number>();
  readonly #turns = new Map<string, number>();

  constructor(client: Client, table: MemoryTable) {
    this.#client = client;
    this.#table = table;
  }

  at(address: number): Sample | undefined {
    const value = this.#known.get(Math.floor(address / PAGE));
    return value === undefined || value < 0 ? undefined : { entropy: value >> 8, text: value & 255 };
  }

  /**
   * Asks for pages that are not known yet. @param who asks: its later call ends an earlier one
   * @param arrived told after each batch
   */
  async want(who: string, addresses: Float64Array, arrived: () => void): Promise<void> {
    const turn = (this.#turns.get(who) ?? 0) + 1;
    this.#turns.set(who, turn);
    if (this.#known.size > MOST) this.#known.clear();
    const missing = spread(Array.from(addresses)).filter((address) => {
      if (this.#known.has(Math.floor(address / PAGE))) return false;
      const run = findRun(this.#table, address);
      return run >= 0 && this.#table.legend[this.#table.kinds[run] ?? 0]?.presence !== "absent";
    });
    for (let i = 0; i < missing.length; i += BATCH) {
      const batch = Float64Array.from(missing.slice(i, i + BATCH));
      const { there, entropy, text } = await this.#client.call("sample", { addresses: batch });
      for (const [j, address] of batch.entries()) {
        const value = there[j] === 1 ? ((entropy[j] ?? 0) << 8) | (text[j] ?? 0) : -1;
        this.#known.set(Math.floor(address / PAGE), value);
      }
      if (turn !== this.#turns.get(who)) return;
      arrived();
    }
  }
}

/** The same in an order that covers the whole first: every 16th, then those between. */
function spread(addresses: readonly number[]): readonly number[] {
  const steps = Array.from(
    { length: 16 },
    (_, i) => ((i & 1) << 3) | ((i & 2) << 1) | ((i & 4) >> 1) | (i >> 3),
  );
  return steps.flatMap((step) => addresses.filter((_, i) => i % 16 === step));
}
