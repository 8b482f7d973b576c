import type { ByteOrder } from "../../binary/layout.js";
import { viewOf } from "../../binary/layout.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import type { PageMap } from "../../guest/page-map.js";
import { violation } from "../../findings/report.js";
import { REASON } from "../domain.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { PAGE_TYPE, PAGE_TYPE_DEFINED, PAGE_TYPE_HAS_DATA, PAGE_TYPE_NAMES } from "../libxc/layout.js";

const ENTRY = 8;
/** pfns from here on are no machine's. */
const PFN_LIMIT = 2 ** 40;
const MOST_WARNINGS = 20;

/** Where a record's pages stand. */
export interface PagePlacement {
  /** Offset of the record, for messages. */
  readonly offset: number;
  readonly record: string;
  /** Offset of the first page's contents. */
  readonly data: number;
  /** Offset behind the last byte that the input has. */
  readonly end: number;
}

/**
 * Takes the entries of PAGE_DATA records into an index: contents stay where they are in the input. A later
 * copy of a page replaces an earlier one. With `partial`, entries that can't be are left out with a warning.
 */
export class StreamPages {
  /** Types of PV pages other than plain ones: name → entries. */
  readonly types: Record<string, number> = {};
  /** Entries with contents that lie behind the input's end. */
  lost = 0;
  readonly #memory: PageMap;
  readonly #source: string;
  readonly #partial: boolean;
  readonly #warnings: string[];
  #warned = 0;
  /** pfns of the record at hand. */
  #pfns = new Float64Array(0);

  constructor(memory: PageMap, source: string, partial: boolean, warnings: string[]) {
    this.#memory = memory;
    this.#source = source;
    this.#partial = partial;
    this.#warnings = warnings;
  }

  /** Takes `entries` (eight bytes each, in stream order); returns how many of them have contents. */
  take(entries: Uint8Array, order: ByteOrder, place: PagePlacement): number {
    const view = viewOf(entries);
    const little = order === "little";
    const lowAt = little ? 0 : 4;
    const highAt = 4 - lowAt;
    const count = Math.floor(entries.length / ENTRY);
    let data = 0;
    // the run at hand: pfns one after another, of one kind
    let first = 0;
    let length = 0;
    let kind: number = PAGE_TYPE.NOTAB;
    let runData = 0;
    let previous = -1;
    let ascending = true;
    if (this.#pfns.length < count) this.#pfns = new Float64Array(count);
    for (let i = 0; i < count; i += 1) {
      const high = view.getUint32(i * ENTRY + highAt, little);
      const pfn = (high & 0xf_ffff) * 2 ** 32 + view.getUint32(i * ENTRY + lowAt, little);
      const type = high >>> 28;
      this.#pfns[i] = pfn;
      ascending &&= pfn > previous;
      previous = pfn;
      const hasData = PAGE_TYPE_HAS_DATA[type] === true;
      if (pfn >= PFN_LIMIT || PAGE_TYPE_DEFINED[type] !== true) {
        this.#refuse(place, pfn, type);
        if (hasData) data += 1;
        continue;
      }
      const same: number = hasData ? PAGE_TYPE.NOTAB : type;
      if (length > 0 && same === kind && pfn === first + length && (!hasData || data === runData + length)) {
        length += 1;
      } else {
        if (length > 0) this.#put(first, length, kind, place, runData);
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
    if (length > 0) this.#put(first, length, kind, place, runData);
    if (!ascending) this.#findDuplicates(count, place);
    return data;
  }

  /** Whose contents are missing, or too many, in a batch can't be told: all of its pages are absent. */
  disbelieve(entries: Uint8Array, order: ByteOrder): void {
    const view = viewOf(entries);
    const little = order === "little";
    for (let at = 0; at + ENTRY <= entries.length; at += ENTRY) {
      const high = view.getUint32(at + (little ? 4 : 0), little);
      const pfn = (high & 0xf_ffff) * 2 ** 32 + view.getUint32(at + (little ? 0 : 4), little);
      if (PAGE_TYPE_HAS_DATA[high >>> 28] === true && pfn < PFN_LIMIT)
        this.#memory.absent(pfn, 1, REASON.mismatch);
    }
  }

  #put(first: number, count: number, kind: number, place: PagePlacement, data: number): void {
    if (kind === PAGE_TYPE.NOTAB) {
      const offset = place.data + data * PAGE_SIZE;
      const whole = Math.max(0, Math.min(count, Math.floor((place.end - offset) / PAGE_SIZE)));
      if (whole > 0) this.#memory.set(first, whole, offset);
      if (whole < count) {
        this.lost += count - whole;
        this.#memory.absent(first + whole, count - whole, REASON.truncated);
      }
    } else if (kind === PAGE_TYPE.XTAB) {
      this.#memory.unpopulated(first, count, REASON.xtab);
    } else if (kind === PAGE_TYPE.BROKEN) {
      this.#memory.absent(first, count, REASON.broken);
    } else {
      // allocation alone leaves contents that were sent before as they are
      for (let pfn = first; pfn < first + count; pfn += 1)
        if (this.#memory.at(pfn).kind !== "source") this.#memory.zero(pfn, 1, REASON.xalloc);
    }
  }

  #countType(type: number): void {
    const name = PAGE_TYPE_NAMES[type] ?? String(type);
    this.types[name] = (this.types[name] ?? 0) + 1;
  }

  #findDuplicates(count: number, place: PagePlacement): void {
    const sorted = this.#pfns.subarray(0, count).sort();
    for (let i = 1; i < count; i += 1) {
      const pfn = sorted[i] ?? 0;
      if (pfn === sorted[i - 1])
        this.#warn(`pfn 0x${pfn.toString(16)} twice in ${place.record}: the later one counts`);
    }
  }

  #refuse(place: PagePlacement, pfn: number, type: number): void {
    const what =
      pfn >= PFN_LIMIT
        ? `pfn 0x${pfn.toString(16)} is beyond any machine's memory`
        : `pfn 0x${pfn.toString(16)} is of reserved type ${type}`;
    if (this.#partial) {
      this.#warn(`${what}, in ${place.record}: left out`);
      return;
    }
    const rule = pfn >= PFN_LIMIT ? LIBXC_RULES.pageBeyondP2m : LIBXC_RULES.pageType;
    throw violation(rule, this.#source, { offset: place.offset }, `${what}, in ${place.record}`);
  }

  #warn(message: string): void {
    this.#warned += 1;
    if (this.#warned <= MOST_WARNINGS) this.#warnings.push(message);
    else if (this.#warned === MOST_WARNINGS + 1) this.#warnings.push("more of the like is not listed");
  }
}
