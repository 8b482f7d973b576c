import { firstAtLeast } from "../../binary/search.js";
import { AbsentError } from "../../findings/errors.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import type { PagesChunk } from "./chunks.js";
import {
  applyCoded,
  type CodedGroup,
  type CodedPageHandler,
  GROUP_LIMIT,
  SenderCache,
  WHOLE,
} from "./compression.js";
import type { Cursor } from "./cursor.js";
import { BATCH_LIMIT, hasData, PAGE, TYPE } from "./layout.js";
import { PageIndex } from "./page-index.js";
import { LEGACY_RULES } from "./rules.js";
import type { PfnSet } from "./pfn-set.js";
import { type OpenSpool, type Spool, SpoolWriter } from "../../io/spool.js";

const PFN_MASK = 0x0fffffff;

/** Pages of consecutive pfns whose contents follow one another. */
export interface PageRun {
  readonly pfn: number;
  readonly count: number;
  /** Type of all of them. */
  readonly type: number;
  /** Where the contents are; undefined: none (allocated without contents, broken). */
  readonly source: ByteSource | undefined;
  readonly offset: number;
}

/**
 * The present pages of a stream; what came since the last complete checkpoint can be taken back.
 *
 * Contents stay in the input where it can be read again; otherwise, and where they were decoded, they are in a spool:
 * one slot a page, taken anew in each checkpoint and given back when its successor is complete, so that a spool holds
 * a guest at most twice however long the stream.
 */
export class PageStore implements CodedPageHandler {
  readonly index = new PageIndex();
  readonly #input: ByteSource | undefined;
  readonly #openSpool: OpenSpool;
  #spool: Spool | undefined;
  #writer: SpoolWriter | undefined;
  #nextSlot = 0;
  readonly #freeSlots: number[] = [];
  readonly #copies = new CopyTable();
  readonly #slots = new Uint32Array(BATCH_LIMIT);
  readonly #senderCache = new SenderCache();
  #work: Uint8Array | undefined;
  /** Pages wrong by the sender's defect: pfn → offset of the coding; those since the last checkpoint apart. */
  #damaged = new Map<number, number>();
  #damagedBefore = new Map<number, number>();

  /** @param input the stream's input where it can be read at any offset (offsets as in chunks) */
  constructor(input: ByteSource | undefined, openSpool: OpenSpool) {
    this.#input = input;
    this.#openSpool = openSpool;
  }

  /** pfns whose contents the sender coded against something else: pfn → offset. */
  get damaged(): ReadonlyMap<number, number> {
    return this.#damaged;
  }

  /** Takes the entries of a batch, and its contents unless they come compressed. */
  async takeBatch(cursor: Cursor, chunk: PagesChunk): Promise<void> {
    const { entries } = chunk;
    const { index } = this;
    if (chunk.compressed || this.#input !== undefined) {
      let copy = chunk.compressed ? 0 : this.#copies.add(chunk.dataOffset, chunk.dataPages);
      for (const entry of entries) {
        const type = entry >>> 28;
        if (type === TYPE.invalid) continue;
        index.setType(entry & PFN_MASK, type);
        if (chunk.compressed || !hasData(type)) continue;
        index.setCopy(entry & PFN_MASK, false, copy);
        copy += 1;
      }
    } else {
      let pages = 0;
      for (const entry of entries) {
        const type = entry >>> 28;
        if (type === TYPE.invalid) continue;
        index.setType(entry & PFN_MASK, type);
        if (!hasData(type)) continue;
        this.#slots[pages] = this.#takeSlot(entry & PFN_MASK);
        pages += 1;
      }
      await this.#fillSlots(cursor, pages);
    }
    if (!chunk.compressed && this.#damaged.size > 0) {
      for (const entry of entries) if (hasData(entry >>> 28)) this.#damaged.delete(entry & PFN_MASK);
    }
  }

  /** A slot of the spool for new contents of a pfn. */
  #takeSlot(pfn: number): number {
    if (this.index.isOwnSlot(pfn)) return this.index.copy(pfn);
    const slot = this.#freeSlots.pop() ?? this.#nextSlot++;
    this.index.setCopy(pfn, true, slot);
    return slot;
  }

  get #slotWriter(): SpoolWriter {
    this.#spool ??= this.#openSpool();
    this.#writer ??= new SpoolWriter(this.#spool);
    return this.#writer;
  }

  async #fillSlots(cursor: Cursor, pages: number): Promise<void> {
    const writer = this.#slotWriter;
    for (let i = 0; i < pages; ) {
      const slot = this.#slots[i] ?? 0;
      let run = 1;
      while (i + run < pages && this.#slots[i + run] === slot + run) run += 1;
      for (let done = 0; done < run * PAGE; ) {
        const room = await writer.room(slot * PAGE + done, run * PAGE - done);
        done += room.length;
        await cursor.fill(room, "page data", (pages - i) * PAGE - done);
      }
      i += run;
    }
  }

  /** Decodes compressed pages against the present contents of their pfns. */
  async group(group: CodedGroup): Promise<void> {
    // within ascending pfns none occurs twice: each is a base for later ones only
    let from = 0;
    for (let i = 1; i <= group.count; i += 1) {
      const ascends =
        i < group.count && ((group.entries[i] ?? 0) & PFN_MASK) > ((group.entries[i - 1] ?? 0) & PFN_MASK);
      if (ascends) continue;
      await this.#decode(group, from, i);
      from = i;
    }
  }

  async #decode(group: CodedGroup, from: number, to: number): Promise<void> {
    const work = (this.#work ??= new Uint8Array(GROUP_LIMIT * PAGE));
    const { entries, at, coded } = group;
    await this.#readBases(group, from, to, work);
    const writer = this.#slotWriter;
    for (let i = from; i < to; i += 1) {
      const entry = entries[i] ?? 0;
      const pfn = entry & PFN_MASK;
      const start = at[i] ?? 0;
      const first = coded[start] ?? 0;
      applyCoded(coded, start, work, (i - from) * PAGE);
      if (this.#senderCache.sent(entry, first)) this.#damaged.set(pfn, group.offset + start);
      else if (first === WHOLE) this.#damaged.delete(pfn);
      this.#slots[i - from] = this.#takeSlot(pfn);
    }
    for (let i = 0; i < to - from; ) {
      const slot = this.#slots[i] ?? 0;
      let run = 1;
      while (i + run < to - from && this.#slots[i + run] === slot + run) run += 1;
      await writer.write(slot * PAGE, work.subarray(i * PAGE, (i + run) * PAGE));
      i += run;
    }
  }

  /** Present contents of the pages that are coded as differences, zeros where there are none. */
  async #readBases(group: CodedGroup, from: number, to: number, work: Uint8Array): Promise<void> {
    const { entries, at, coded } = group;
    const isDifference = (i: number): boolean => coded[at[i] ?? 0] !== WHOLE;
    for (let i = from; i < to; ) {
      const pfn = (entries[i] ?? 0) & PFN_MASK;
      if (!isDifference(i) || !this.index.isStored(pfn)) {
        if (isDifference(i)) work.fill(0, (i - from) * PAGE, (i - from + 1) * PAGE);
        i += 1;
        continue;
      }
      const start = this.#place(pfn);
      let run = 1;
      while (i + run < to && isDifference(i + run)) {
        const next = (entries[i + run] ?? 0) & PFN_MASK;
        if (!this.index.isStored(next) || this.index.isSpooled(next) !== this.index.isSpooled(pfn)) break;
        if (this.#place(next) !== start + run * PAGE) break;
        run += 1;
      }
      await this.#read(
        this.index.isSpooled(pfn),
        start,
        work.subarray((i - from) * PAGE, (i - from + run) * PAGE),
      );
      i += run;
    }
  }

  /** Offset of a stored pfn's contents in the spool or the input. */
  #place(pfn: number): number {
    const copy = this.index.copy(pfn);
    return this.index.isSpooled(pfn) ? copy * PAGE : this.#copies.offset(copy);
  }

  async #read(spooled: boolean, offset: number, into: Uint8Array): Promise<void> {
    if (spooled && this.#writer?.isPending(offset, into.length) === true) await this.#writer.flush();
    const source = spooled ? this.#spool : this.#input;
    const done = source === undefined ? 0 : await readFully(source, offset, into);
    if (done < into.length) {
      throw new AbsentError(
        LEGACY_RULES.inputChanged,
        "the input ended before contents that it held a moment ago",
        {
          source: source?.name ?? "input",
          offset,
        },
      );
    }
  }

  /** Fills `into` with the contents of a stored page. */
  readPage(pfn: number, into: Uint8Array): Promise<void> {
    return this.#read(this.index.isSpooled(pfn), this.#place(pfn), into);
  }

  commit(): void {
    this.index.commit((slot) => this.#freeSlots.push(slot));
    this.#damagedBefore = new Map(this.#damaged);
  }

  rollback(): void {
    this.index.rollback();
    this.#damaged = new Map(this.#damagedBefore);
  }

  /** Nothing more is taken: the spool can be read. */
  async finish(): Promise<void> {
    await this.#writer?.flush();
    this.#writer = undefined;
    this.#work = undefined;
  }

  /** All pages but those of `without`, as ascending runs of at most `limit` pages. `finish` comes first. */
  *runs(without?: PfnSet, limit = BATCH_LIMIT): Generator<PageRun, void, void> {
    const { index } = this;
    const following = (from: number): number | undefined => {
      let pfn = index.next(from);
      while (pfn !== undefined && without?.has(pfn) === true) pfn = index.next(pfn + 1);
      return pfn;
    };
    let pfn = following(0);
    while (pfn !== undefined) {
      const type = index.type(pfn) ?? TYPE.invalid;
      const source = this.#sourceOf(pfn, type);
      const offset = source === undefined ? 0 : this.#place(pfn);
      let count = 1;
      let next = following(pfn + 1);
      while (count < limit && next === pfn + count && index.type(next) === type) {
        if (source !== this.#sourceOf(next, type)) break;
        if (source !== undefined && this.#place(next) !== offset + count * PAGE) break;
        count += 1;
        next = following(pfn + count);
      }
      yield { pfn, count, type, source, offset };
      pfn = next;
    }
  }

  #sourceOf(pfn: number, type: number): ByteSource | undefined {
    if (!hasData(type) || !this.index.isStored(pfn)) return undefined;
    return this.index.isSpooled(pfn) ? this.#spool : this.#input;
  }

  close(): void {
    this.#spool?.close();
    this.#spool = undefined;
  }
}

/** Where copies of pages are in the input: they are counted in stream order, those of one batch follow one another. */
class CopyTable {
  #first: Float64Array = new Float64Array(1024);
  #offset: Float64Array = new Float64Array(1024);
  #length = 0;
  #copies = 0;
  #hit = 0;

  /** Adds the copies of a batch; returns the number of the first. */
  add(offset: number, count: number): number {
    if (this.#length === this.#first.length) {
      const first = new Float64Array(this.#length * 2);
      first.set(this.#first);
      const offsets = new Float64Array(this.#length * 2);
      offsets.set(this.#offset);
      this.#first = first;
      this.#offset = offsets;
    }
    const number = this.#copies;
    if (count > 0) {
      this.#first[this.#length] = number;
      this.#offset[this.#length] = offset;
      this.#length += 1;
      this.#copies += count;
    }
    return number;
  }

  offset(copy: number): number {
    if (!this.#holds(this.#hit, copy)) {
      if (this.#holds(this.#hit + 1, copy)) this.#hit += 1;
      else this.#hit = this.#search(copy);
    }
    return (this.#offset[this.#hit] ?? 0) + (copy - (this.#first[this.#hit] ?? 0)) * PAGE;
  }

  #holds(batch: number, copy: number): boolean {
    if (batch >= this.#length || copy < (this.#first[batch] ?? 0)) return false;
    return copy < (batch + 1 < this.#length ? (this.#first[batch + 1] ?? 0) : this.#copies);
  }

  #search(copy: number): number {
    return Math.max(0, firstAtLeast(this.#first, copy + 1, this.#length) - 1);
  }
}
