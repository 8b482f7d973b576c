import { type Resumption, Resynchronizer } from "../../../guest/salvage.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { FLAG, SECTION } from "../layout.js";
import type { RamBlock } from "./blocks.js";
import { MOST_SECTIONS, RamSteps, type Step } from "./steps.js";

/*
 * Records of RAM have no marks and begin at any byte: one is believed when others follow it in a row. A record that
 * continues a block doesn't name it: which it is follows from the records up to the next that names one.
 */

/** Records in a row that are checked after a lost part. */
const PROOF = 4;
const TWO_32 = 0x1_0000_0000;
/** Records looked at to tell which block a run of them is of. */
const MOST_LOOKED_AT = 1 << 22;
/** Ends and heads of parts of RAM between two pages. */
const MOST_BETWEEN = 64;

/** What is known where reading goes on. */
export interface RamResumption extends Resumption {
  /** `records`: of RAM, within a part of it; `sections`: a footer is there, then a section's head. */
  readonly state: "records" | "sections";
  /** The block that the records are of, until one names another; undefined: it can't be told. */
  readonly block: RamBlock | undefined;
  /** Of the first page there: offset in its block; -1: no page follows. */
  readonly address: number;
  /** How many of the latest joints turn out to be none: records that were read since were no records of this place. */
  readonly undone: number;
}

/** The last record before damage. */
export interface LastRecord {
  /** The block of the last record before the damage. */
  readonly block: RamBlock | undefined;
  /** Page of the block, -1: none. */
  readonly address: number;
  /** Where the damage begins. */
  readonly offset: number;
  /** Whether every page is sent once yet: the stream is in its first round. */
  readonly firstRound: boolean;
}

/** What records in a row, which name no block, say of theirs. */
interface Run {
  /** Blocks that are long enough. */
  readonly candidates: readonly RamBlock[];
  /** Address of the first. */
  readonly first: number;
  /** The block that the record after the run names. */
  readonly named: RamBlock | undefined;
  /** Whether memory ends after it. */
  readonly isEnded: boolean;
}

/** Finds where a stream goes on after damage. */
export class RamResync {
  readonly #input: ByteSource;
  readonly #blocks: readonly RamBlock[];
  readonly #pageSize: number;
  readonly #flagBits: number;
  readonly #longest: number;
  readonly #steps: RamSteps<RamBlock>;
  readonly #finder: Resynchronizer;
  /** What is looked for in the search at hand. */
  #recordsToo = true;

  /** @param ramId number of the section `ram`; undefined: it has not begun */
  constructor(input: ByteSource, blocks: readonly RamBlock[], pageSize: number, ramId: number | undefined) {
    this.#input = input;
    this.#blocks = blocks;
    const byName = new Map(blocks.map((block) => [block.name, block]));
    this.#pageSize = pageSize;
    this.#flagBits = Math.min(pageSize, 0x1000) - 1;
    this.#longest = blocks.reduce((most, { length }) => Math.max(most, length), 0);
    this.#steps = new RamSteps(input, {
      pageSize,
      longest: this.#longest,
      blockOf: (name) => byName.get(name),
      isRam: (id) => id === ramId,
    });
    this.#finder = new Resynchronizer(input, {
      step: 1,
      head: 8,
      isLikely: (view, at) => this.#isLikely(view, at),
      proof: (offset) => this.#proof(offset),
    });
  }

  /**
   * The next place from `from` on where records of RAM or sections go on.
   * @param inRam whether RAM may go on
   * @param lasts what was before this damage, then before the damage that precedes it, and so on
   */
  async resume(
    from: number,
    inRam: boolean,
    lasts: readonly LastRecord[],
  ): Promise<RamResumption | undefined> {
    this.#recordsToo = inRam && this.#blocks.length > 0;
    const likely = await this.#finder.resume(from);
    if (likely === undefined) return undefined;
    const found = await this.#whole(likely);
    const step = await this.#step(found.at);
    const state = step?.kind === "section" ? "sections" : "records";
    const first = inRam ? await this.#firstPage(found.at) : undefined;
    if (first === undefined) return { ...found, state, block: undefined, address: -1, undone: 0 };
    const { address } = first.step;
    if (!first.step.continues) return { ...found, state, block: first.step.block, address, undone: 0 };
    const run = await this.#runOf(first.at);
    for (const [undone, last] of lasts.entries()) {
      const block = this.#blockOf(run, found.at, last);
      if (block !== undefined) return { ...found, state, block, address, undone };
      if (!last.firstRound) break;
    }
    return { ...found, state, block: undefined, address, undone: 0 };
  }

  /** The first page from a place on where records or sections go on: parts of RAM follow one another; undefined: none. */
  async #firstPage(offset: number): Promise<{ at: number; step: Step<RamBlock> } | undefined> {
    for (let at = offset, count = 0; count < MOST_BETWEEN; count += 1) {
      const step = await this.#step(at);
      if (step?.kind === "page") return { at, step };
      if (step === undefined || step.kind === "eof" || (step.kind === "section" && !step.ofRam))
        return undefined;
      at = step.next;
    }
    return undefined;
  }

  /** The damage may reach into the first record's address: it counts where the next page follows it. */
  async #whole(found: Resumption): Promise<Resumption> {
    const first = await this.#step(found.at);
    if (first?.kind !== "page" || !first.continues) return found;
    const next = await this.#step(first.next);
    const isNext = next?.kind === "page" && next.continues && next.address !== first.address + this.#pageSize;
    return isNext ? { ...found, at: first.next } : found;
  }

  #isLikely(view: DataView, at: number): boolean {
    const low = view.getUint32(at + 4);
    if (view.getUint8(at) === SECTION.footer) {
      const next = view.getUint8(at + 5);
      if (view.getUint32(at + 1) < MOST_SECTIONS && next <= SECTION.full) return true;
    }
    if (!this.#recordsToo) return false;
    const flags = low & this.#flagBits;
    const kind = flags & ~FLAG.continue;
    if (kind === FLAG.eos) return flags === kind && low === FLAG.eos && view.getUint32(at) === 0;
    if (kind !== FLAG.page && kind !== FLAG.zero && kind !== FLAG.compress && kind !== FLAG.xbzrle)
      return false;
    return view.getUint32(at) * TWO_32 + (low - flags) < this.#longest;
  }

  #step(at: number): Promise<Step<RamBlock> | undefined> {
    return this.#steps.at(at);
  }

  async #proof(offset: number): Promise<number> {
    let at = offset;
    for (let count = 0; ; count += 1) {
      const step = count >= PROOF ? undefined : await this.#step(at);
      if (count >= PROOF) return count;
      if (step === undefined) {
        // the stream may end, or be damaged again, after a few
        if (count > 1 && at >= this.#input.size) return count;
        return 0;
      }
      if (step.kind === "eof") return count + 1;
      if (step.kind === "section") {
        // a head says much: its number, a name, a small version
        const next = await this.#step(step.next);
        return next === undefined ? count + 2 : count + 3;
      }
      if (step.kind === "end") {
        const after = await this.#step(step.next);
        if (after?.kind !== "section" && after?.kind !== "eof") return 0;
      }
      at = step.next;
    }
  }

  /** What the records from an offset on say of their block, up to where one names another. */
  async #runOf(offset: number): Promise<Run> {
    let candidates = [...this.#blocks];
    let first: number | undefined;
    let before = -1;
    let at = offset;
    const run = (named?: RamBlock, isEnded = false): Run => ({
      candidates: candidates.filter((block) => block !== named),
      first: first ?? 0,
      named,
      isEnded,
    });
    for (let count = 0; count < MOST_LOOKED_AT && candidates.length > 1; count += 1) {
      const step = await this.#step(at);
      if (step === undefined || step.kind === "eof") break;
      if (step.kind === "section") {
        // parts of RAM follow one another; a device follows its end
        const after = await this.#step(step.next);
        if (after === undefined || after.kind === "section" || after.kind === "eof")
          return run(undefined, true);
      } else if (step.kind === "page") {
        if (step.block !== undefined) return run(step.block);
        const { address } = step;
        first ??= address;
        candidates = candidates.filter(({ length }) => length > address);
        if (address < before) break;
        before = address;
      }
      at = step.next;
    }
    return run();
  }

  /** The block that a run of records from `offset` on is of, after `last`; undefined: it can't be told. */
  #blockOf(
    { candidates, first, named, isEnded }: Run,
    offset: number,
    last: LastRecord,
  ): RamBlock | undefined {
    if (!last.firstRound)
      return candidates.length === 1 ? candidates[0] : candidates.find((block) => block === last.block);
    const fits = candidates.filter((block) => this.#fits(block, first, offset - last.offset, last));
    if (fits.length === 1) return fits[0];
    // in the first round blocks come in the order of the list, each whole
    const order = this.#blocks;
    const expected =
      named !== undefined ? order[order.indexOf(named) - 1] : isEnded ? order.at(-1) : undefined;
    return expected !== undefined && fits.includes(expected) ? expected : undefined;
  }

  /** Whether so many lost bytes may hold the records between the last one and page `address` of a block. */
  #fits(block: RamBlock, address: number, lost: number, last: LastRecord): boolean {
    if (last.block === undefined) return false;
    const from = this.#blocks.indexOf(last.block);
    const to = this.#blocks.indexOf(block);
    if (to < from || (to === from && address <= last.address)) return false;
    let pages = address / this.#pageSize - (to === from ? last.address / this.#pageSize + 1 : 0);
    if (to > from) {
      pages += last.block.pages - (last.address / this.#pageSize + 1);
      for (const between of this.#blocks.slice(from + 1, to)) pages += between.pages;
    }
    // a zero page takes nine bytes; names and the heads of parts come on top
    return lost >= pages * 9 && lost <= pages * (this.#pageSize + 64) + 4096;
  }
}
