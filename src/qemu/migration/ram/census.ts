import { viewOf } from "../../../binary/layout.js";
import { Resynchronizer } from "../../../guest/salvage.js";
import { type ByteSource, readFully } from "../../../io/byte-source.js";
import { isName } from "../frame.js";
import { FLAG, SECTION } from "../layout.js";
import { RamSteps } from "./steps.js";

/*
 * What the records of RAM say of its blocks where the list of them is damaged: the first record of each block names it,
 * in the first round every page of a block comes, in order.
 */

/** Records in a row that prove where they begin. */
const PROOF = 4;
/** No guest has more in a block. */
const LONGEST = 2 ** 46;
/** Blocks of one guest: more are names of nothing. */
const MOST_BLOCKS = 4096;
const TWO_32 = 0x1_0000_0000;
/** A section's footer, and the type of the section that follows. */
const FOOTER = 5;

/** A block as its records show it. */
export interface CensusBlock {
  /** Undefined: the record that named it is lost. */
  readonly name: string | undefined;
  /** Bytes up to the end of its farthest page that came. */
  readonly length: number;
}

/** What the records of RAM say of its blocks. */
export interface RamCensus {
  /** Offset of the first record that is whole. */
  readonly at: number;
  /** Its address in its block. */
  readonly address: number;
  readonly proof: number;
  /** Number of the section `ram`, if a footer showed it. */
  readonly ramId: number | undefined;
  /** In the order in which their first records came. */
  readonly blocks: readonly CensusBlock[];
}

interface Counted {
  readonly name: string | undefined;
  readonly length: number;
  seen: number;
}

/** Looks for records of RAM in a row. */
export class RamCensusTaker {
  readonly #input: ByteSource;
  readonly #pageSize: number;
  readonly #steps: RamSteps<Counted>;
  readonly #blocks = new Map<string | undefined, Counted>();
  #ramId: number | undefined;

  constructor(input: ByteSource, pageSize: number) {
    this.#input = input;
    this.#pageSize = pageSize;
    this.#steps = new RamSteps<Counted>(input, {
      pageSize,
      longest: LONGEST,
      blockOf: (name) => (isName(name) ? { name, length: LONGEST, seen: 0 } : undefined),
      isRam: (id) => this.#ramId === undefined || id === this.#ramId,
    });
  }

  /** The first place in [from, end) at which records of RAM in a row begin. */
  async find(
    from: number,
    end: number,
  ): Promise<{ readonly at: number; readonly proof: number } | undefined> {
    const flagBits = Math.min(this.#pageSize, 0x1000) - 1;
    const finder = new Resynchronizer(this.#input, {
      step: 1,
      head: 8,
      isLikely: (view, at) => {
        const low = view.getUint32(at + 4);
        const flags = low & flagBits;
        if (!KINDS.has(flags & ~FLAG.continue)) return false;
        return view.getUint32(at) * TWO_32 + (low - flags) < LONGEST;
      },
      proof: (offset) => this.#proof(offset),
    });
    const found = await finder.resume(from, end);
    if (found === undefined) return undefined;
    // the damage may reach into the first record's address: it counts where the next page follows it
    const first = await this.#steps.at(found.at);
    const next = first === undefined ? undefined : await this.#steps.at(first.next);
    const isNext =
      first === undefined ||
      !first.continues ||
      next?.kind !== "page" ||
      !next.continues ||
      next.address === first.address + this.#pageSize;
    return isNext ? found : { ...found, at: first.next };
  }

  async #proof(offset: number): Promise<number> {
    let last = -1;
    for (let at = offset, count = 0; ; count += 1) {
      if (count === PROOF) return count;
      const step = await this.#steps.at(at);
      if (step?.kind !== "page") return 0;
      // pages of a block follow one another
      if (step.continues && step.address !== last + this.#pageSize && last >= 0) return 0;
      last = step.address;
      at = step.next;
    }
  }

  /** Counts the blocks of all records from the first on that are found in [from, end). */
  async take(from: number, end: number): Promise<RamCensus | undefined> {
    const found = await this.find(from, end);
    if (found === undefined) return undefined;
    let current: Counted = { name: undefined, length: LONGEST, seen: 0 };
    const first = await this.#steps.at(found.at);
    for (let at = found.at; ; ) {
      const step = await this.#steps.at(at);
      if (step === undefined) break;
      if (step.kind === "page") {
        if (step.block !== undefined) {
          current = this.#blocks.get(step.block.name) ?? step.block;
        }
        if (this.#blocks.size >= MOST_BLOCKS) break;
        this.#blocks.set(current.name, current);
        current.seen = Math.max(current.seen, step.address + this.#pageSize);
      } else if (step.kind === "end") {
        const footer = new Uint8Array(FOOTER + 1);
        if ((await readFully(this.#input, step.next, footer)) < footer.length) break;
        this.#ramId ??= viewOf(footer).getUint32(1);
        const type = footer[FOOTER];
        if (type !== SECTION.part && type !== SECTION.end) break;
      } else if (step.kind !== "section") break;
      at = step.next;
    }
    return {
      ...found,
      address: first?.address ?? 0,
      ramId: this.#ramId,
      blocks: [...this.#blocks.values()].map(({ name, seen }) => ({ name, length: seen })),
    };
  }
}

const KINDS: ReadonlySet<number> = new Set([FLAG.page, FLAG.zero, FLAG.compress, FLAG.xbzrle]);
