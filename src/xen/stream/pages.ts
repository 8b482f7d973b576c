import { formatError, type FindingPlace } from "../../findings/diagnostics.js";
import type { FormatError } from "../../findings/errors.js";
import { describeRecord } from "../../findings/finding.js";
import type { Rule } from "../../findings/rule.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { PageMap } from "../../guest/page-map.js";
import type { DoubtfulPart, LostPart } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { XEN_ABSENT } from "../domain.js";
import { doubtfulMemory } from "../doubtful.js";
import {
  PAGE_TYPE,
  PAGE_TYPE_DEFINED,
  PAGE_TYPE_HAS_DATA,
  PAGE_TYPE_NAMES,
  pageDataEntry,
  pageDataHeader,
} from "../libxc/layout.js";
import { PageEntries, PFN_LIMIT } from "../libxc/pages.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { outOfOrder, WRONG_PFN } from "../page-order.js";
import { placeOf, type RecordBody, type StreamRecord } from "../record.js";
import type { StreamSalvage } from "./salvage.js";
import { StreamOrder } from "./order.js";

const MOST_WARNINGS = 20;
/** Parts of damaged entries that are listed. */
const MOST_LEFT = 10_000;
/** Of a batch that ascends: one entry in so many, at most, is out of order because it is damaged. */
const MOST_UNORDERED = 4;

const isPossible = (pfn: number, type: number): boolean =>
  pfn < PFN_LIMIT && PAGE_TYPE_DEFINED[type] === true;

/**
 * Takes the pages of PAGE_DATA records into an index: contents stay where they are in the input. A later copy of a page
 * replaces an earlier one. With `partial`, entries that can't be right are left out with a warning.
 */
export class StreamPages {
  /** Types of PV pages other than plain ones: name → entries. */
  readonly types: Record<string, number> = {};
  /** Entries whose contents would be after the input's end. */
  lost = 0;
  /** Damaged entries whose pages are left out: bytes of the input. */
  readonly left: LostPart[] = [];
  readonly #memory: PageMap;
  readonly #source: string;
  /** Offset after the last byte that the input has. */
  readonly #end: number;
  readonly #partial: boolean;
  readonly #warnings: string[];
  readonly #originOf: (offset: number) => number;
  readonly #order: StreamOrder;
  readonly #entries = new PageEntries();
  #warned = 0;
  /** Entries of the current record. */
  #count = 0;
  #pfns = new Float64Array(1024);
  #types = new Uint8Array(1024);
  /** Offset of the first page's contents in the current record. */
  #contents = 0;

  /** @param salvage what `input` is of a damaged one */
  constructor(
    memory: PageMap,
    input: ByteSource,
    partial: boolean,
    warnings: string[],
    salvage?: StreamSalvage,
  ) {
    this.#memory = memory;
    this.#source = input.name;
    this.#end = input.size;
    this.#partial = partial;
    this.#warnings = warnings;
    this.#originOf = salvage?.originOf ?? ((offset) => offset);
    this.#order = new StreamOrder(salvage);
  }

  /** Notes a record that comes after memory, if pages came before it. */
  noteState(record: StreamRecord): void {
    this.#order.noteState(record.offset);
  }

  /**
   * Memory that is given although something speaks against it. To be called once all records are read.
   * @param isCut whether the input ends before the stream does
   */
  doubtful(isCut: boolean): DoubtfulPart[] {
    const stale = this.#order.stale(isCut ? this.#end : undefined);
    return doubtfulMemory(this.#memory, stale, this.#order.shifted);
  }

  /** Whether the input ends within the first pass through memory; known after `doubtful`. */
  get isFirstPassCut(): boolean {
    return this.#order.isFirstPassCut;
  }

  /**
   * Takes the pages of a record; of one that the input doesn't hold to the end of its entries none.
   * @throws FormatError the record's body, count and entries don't fit together, or an entry can't be right
   */
  async take(record: StreamRecord, body: RecordBody): Promise<void> {
    const place = placeOf(record);
    if (record.length < pageDataHeader.size)
      throw this.#error(LIBXC_RULES.pageShort, place, `a body of ${record.length} bytes`);
    // what the input lacks of a record is reported when reading goes on after it
    if (!(await this.#entries.open(body))) return;
    const { count } = this.#entries;
    if (count * pageDataEntry.size > body.remaining) {
      const message = `${count} entries in a body of ${record.length} bytes`;
      throw this.#error(LIBXC_RULES.pageEntries, place, message);
    }
    await this.#collect();
    if (this.#count < count) return;
    if (this.#partial && this.#takeAround(record, Math.floor(body.remaining / PAGE_SIZE))) return;
    const pages = this.#index(record);
    if (pages * PAGE_SIZE === body.remaining) return;
    this.#markAbsent();
    const message = `${body.remaining} bytes of contents for ${pages} pages`;
    throw this.#error(LIBXC_RULES.pageLength, place, message);
  }

  /** Decodes the record's entries into `#pfns` and `#types`. */
  async #collect(): Promise<void> {
    const entries = this.#entries;
    this.#contents = entries.contentsOffset;
    this.#count = 0;
    while (await entries.next()) {
      const end = this.#count + entries.length;
      if (end > this.#pfns.length) {
        const pfns = new Float64Array(Math.max(end, 2 * this.#pfns.length));
        pfns.set(this.#pfns.subarray(0, this.#count));
        const types = new Uint8Array(pfns.length);
        types.set(this.#types.subarray(0, this.#count));
        this.#pfns = pfns;
        this.#types = types;
      }
      this.#pfns.set(entries.pfns.subarray(0, entries.length), this.#count);
      this.#types.set(entries.types.subarray(0, entries.length), this.#count);
      this.#count = end;
    }
  }

  /** Puts the record's pages into the index, as runs; returns how many of them have contents. */
  #index(record: StreamRecord): number {
    const pfns = this.#pfns;
    const types = this.#types;
    let data = 0;
    // the run at hand: consecutive pfns of one kind
    let first = 0;
    let length = 0;
    let kind: number = PAGE_TYPE.NOTAB;
    let runData = 0;
    let previous = -1;
    let ascending = true;
    for (let i = 0; i < this.#count; i += 1) {
      const pfn = pfns[i] ?? 0;
      const type = types[i] ?? 0;
      ascending &&= pfn > previous;
      previous = pfn;
      const hasData = PAGE_TYPE_HAS_DATA[type] === true;
      if (!isPossible(pfn, type)) {
        this.#refuse(record, pfn, type);
        if (hasData) data += 1;
        continue;
      }
      const same: number = hasData ? PAGE_TYPE.NOTAB : type;
      if (length > 0 && same === kind && pfn === first + length && (!hasData || data === runData + length)) {
        length += 1;
      } else {
        if (length > 0) this.#put(first, length, kind, runData);
        first = pfn;
        length = 1;
        kind = same;
        runData = data;
      }
      if (hasData) {
        data += 1;
        if (type !== PAGE_TYPE.NOTAB) this.#countType(type);
      }
    }
    if (length > 0) this.#put(first, length, kind, runData);
    if (!ascending) this.#findDuplicates(record);
    return data;
  }

  /**
   * Indexes of entries that can't be right, ascending: impossible ones, and in a batch that ascends but for a few those
   * few. Senders go through memory, so that a batch in no order is another sender's.
   */
  #damagedEntries(): number[] {
    const count = this.#count;
    const pfns = this.#pfns.slice(0, count);
    let impossible = 0;
    let last = -1;
    let isAscending = true;
    for (let i = 0; i < count; i += 1) {
      const pfn = pfns[i] ?? 0;
      if (!isPossible(pfn, this.#types[i] ?? 0)) {
        impossible += 1;
        pfns[i] = WRONG_PFN;
        continue;
      }
      isAscending &&= pfn > last;
      last = pfn;
    }
    if (isAscending && impossible === 0) return [];
    const wrong = outOfOrder(pfns);
    if (wrong.length - impossible <= count / MOST_UNORDERED) return wrong;
    return Array.from({ length: count }, (_, i) => i).filter((i) => pfns[i] === WRONG_PFN);
  }

  /**
   * Takes what is certain of a batch with damaged entries: those before the damage, whose contents count from the first,
   * and those after it, whose contents count from the last. An entry beside damage may be half of it: it is left out.
   * False: the entries are whole.
   */
  #takeAround(record: StreamRecord, contents: number): boolean {
    const bad = this.#damagedEntries();
    const count = this.#count;
    const isLeft = new Uint8Array(count);
    if (bad.length > 0) {
      let pages = 0;
      for (let i = 0; i < count; i += 1) if (PAGE_TYPE_HAS_DATA[this.#types[i] ?? 0] === true) pages += 1;
      // one bad entry that leaves the count right is left out by itself
      const beside = bad.length === 1 && pages === contents ? 0 : 1;
      const from = Math.max(0, (bad[0] ?? 0) - beside);
      const to = Math.min(count, (bad.at(-1) ?? 0) + 1 + beside);
      isLeft.fill(1, from, to);
      this.#leaveOut(record, from, to, contents);
    }
    this.#order.note(
      record,
      this.#pfns.subarray(0, count).filter((_, i) => isLeft[i] === 0),
    );
    return bad.length > 0;
  }

  /** Takes the entries of a record before `from` and from `to` on. @param contents pages that the record has */
  #leaveOut(record: StreamRecord, from: number, to: number, contents: number): void {
    let before = 0;
    for (let i = 0; i < from; i += 1) before += this.#putOne(i, before);
    let after = contents;
    for (let i = this.#count - 1; i >= to; i -= 1)
      if (PAGE_TYPE_HAS_DATA[this.#types[i] ?? 0] === true) after -= 1;
    // more contents than there are: the counts are damaged too
    if (after < before) this.#markAbsent();
    else {
      let at = after;
      for (let i = to; i < this.#count; i += 1) at += this.#putOne(i, at);
    }
    const [pfn, type] = [this.#pfns[from] ?? 0, this.#types[from] ?? 0];
    if (to - from === 1 && !isPossible(pfn, type)) this.#refuse(record, pfn, type);
    else this.#warn(`damaged entries of ${describeRecord(record.ref)} are left out: ${to - from}`);
    const [lower, upper] = [this.#pfns[from - 1], to < this.#count ? this.#pfns[to] : undefined];
    this.#order.loseWithin((lower ?? -1) + 1, upper ?? Number.POSITIVE_INFINITY, record.offset);
    const entries = this.#contents - this.#count * pageDataEntry.size;
    const lose = (start: number, end: number, what: string): void => {
      const [first, last] = [this.#originOf(start), this.#originOf(end)];
      if (first < last && this.left.length < MOST_LEFT)
        this.left.push({ start: first, end: last, proof: 0, what });
    };
    lose(
      entries + from * pageDataEntry.size,
      entries + to * pageDataEntry.size,
      "damaged entries of a batch",
    );
    lose(
      this.#contents + before * PAGE_SIZE,
      this.#contents + Math.max(before, after) * PAGE_SIZE,
      "pages whose entries are damaged",
    );
  }

  /** Puts one entry's page into the index; 1 when it has contents. */
  #putOne(index: number, data: number): 0 | 1 {
    const type = this.#types[index] ?? 0;
    const hasData = PAGE_TYPE_HAS_DATA[type] === true;
    this.#put(this.#pfns[index] ?? 0, 1, hasData ? PAGE_TYPE.NOTAB : type, data);
    if (hasData && type !== PAGE_TYPE.NOTAB) this.#countType(type);
    return hasData ? 1 : 0;
  }

  /** Marks every page of the record absent: its length doesn't match its entries, so no page's data can be located. */
  #markAbsent(): void {
    for (let i = 0; i < this.#count; i += 1) {
      const pfn = this.#pfns[i] ?? 0;
      if (PAGE_TYPE_HAS_DATA[this.#types[i] ?? 0] === true && pfn < PFN_LIMIT)
        this.#memory.absent(pfn, 1, XEN_ABSENT.mismatch);
    }
  }

  #put(first: number, count: number, kind: number, data: number): void {
    if (kind === PAGE_TYPE.NOTAB) {
      const offset = this.#contents + data * PAGE_SIZE;
      const whole = Math.max(0, Math.min(count, Math.floor((this.#end - offset) / PAGE_SIZE)));
      if (whole > 0) this.#memory.set(first, whole, offset);
      if (whole < count) {
        this.lost += count - whole;
        this.#memory.absent(first + whole, count - whole, XEN_ABSENT.truncated);
      }
    } else if (kind === PAGE_TYPE.XTAB) {
      this.#memory.absent(first, count, XEN_ABSENT.xtab);
    } else if (kind === PAGE_TYPE.BROKEN) {
      this.#memory.absent(first, count, XEN_ABSENT.broken);
    } else {
      // allocation alone leaves contents that were sent before as they are
      for (let pfn = first; pfn < first + count; pfn += 1)
        if (this.#memory.at(pfn).kind !== "source") this.#memory.zero(pfn, 1, XEN_ABSENT.xalloc);
    }
  }

  #countType(type: number): void {
    const name = PAGE_TYPE_NAMES[type] ?? String(type);
    this.types[name] = (this.types[name] ?? 0) + 1;
  }

  #findDuplicates(record: StreamRecord): void {
    const sorted = this.#pfns.slice(0, this.#count).sort();
    for (let i = 1; i < sorted.length; i += 1) {
      const pfn = sorted[i] ?? 0;
      if (pfn === sorted[i - 1])
        this.#warn(`pfn 0x${pfn.toString(16)} twice in ${describeRecord(record.ref)}: the later one counts`);
    }
  }

  /** Leaves an entry out with a warning. @throws FormatError unless `partial` */
  #refuse(record: StreamRecord, pfn: number, type: number): void {
    const tooHigh = pfn >= PFN_LIMIT;
    const what = tooHigh ? "is beyond any machine's memory" : `is of reserved type ${type}`;
    const message = `pfn 0x${pfn.toString(16)} ${what}, in ${describeRecord(record.ref)}`;
    if (this.#partial) return this.#warn(`${message}: left out`);
    const rule = tooHigh ? LIBXC_RULES.pageBeyondP2m : LIBXC_RULES.pageType;
    throw this.#error(rule, { offset: record.offset }, message);
  }

  #error(rule: Rule, place: FindingPlace, message: string): FormatError {
    return formatError(rule, this.#source, place, message);
  }

  #warn(message: string): void {
    this.#warned += 1;
    if (this.#warned <= MOST_WARNINGS) this.#warnings.push(message);
    else if (this.#warned === MOST_WARNINGS + 1) this.#warnings.push("more of the like is not listed");
  }
}
