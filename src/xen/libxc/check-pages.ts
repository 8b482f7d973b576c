import type { Diagnostics } from "../../findings/diagnostics.js";
import { placeOf, type RecordBody, type StreamRecord } from "../record.js";
import {
  PAGE_TYPE,
  PAGE_TYPE_DEFINED,
  PAGE_TYPE_HAS_DATA,
  PAGE_TYPE_NAMES,
  pageDataEntry,
  pageDataHeader,
} from "./layout.js";
import { hasReservedBits, PageEntries, PFN_LIMIT } from "./pages.js";
import { LIBXC_RULES } from "./rules.js";

/** Entries out of order that are looked through for a pfn that comes twice; real records have 1024. */
const DUPLICATE_WINDOW = 1 << 20;
const PAGE = 4096;

/** By type, as numbers for the hot loop: 0 no data, 1 data, 2 page table (with data), 3 not defined. */
const KIND: Uint8Array = Uint8Array.from({ length: 16 }, (_, t) => {
  if (PAGE_TYPE_DEFINED[t] !== true) return 3;
  if (PAGE_TYPE_HAS_DATA[t] !== true) return 0;
  return t === PAGE_TYPE.NOTAB ? 1 : 2;
});

/** Facts about the guest that pages are held against. */
export interface PageContext {
  readonly guest: "pv" | "hvm" | undefined;
  /** Last pfn of a PV guest. */
  readonly lastPfn: number | undefined;
}

/** Checks PAGE_DATA records: the hot path of verification. */
export class PageChecker {
  readonly #diagnostics: Diagnostics;
  readonly #entries = new PageEntries();
  /** pfns of the record in hand, kept only once they are not ascending. */
  #seen: Float64Array = new Float64Array(1024);
  #seenLength = 0;
  #last = -1;
  #ascending = true;

  constructor(diagnostics: Diagnostics) {
    this.#diagnostics = diagnostics;
  }

  async check(record: StreamRecord, body: RecordBody, context: PageContext): Promise<void> {
    const entries = this.#entries;
    const place = placeOf(record);
    const least = pageDataHeader.size + pageDataEntry.size;
    if (record.length < pageDataHeader.size) {
      this.#diagnostics.report(
        LIBXC_RULES.pageShort,
        place,
        `body of ${record.length} bytes, at least ${least} are needed`,
      );
      return;
    }
    if (!(await entries.open(body))) return;
    const { count, reserved } = entries;
    if (reserved !== 0) {
      this.#diagnostics.report(
        LIBXC_RULES.pageReserved,
        { offset: record.bodyOffset + 4, record: record.ref },
        `reserved field holds 0x${reserved.toString(16)}`,
      );
    }
    if (count === 0) {
      this.#diagnostics.report(
        LIBXC_RULES.pageCount,
        { offset: record.bodyOffset, record: record.ref },
        "count is 0",
      );
    }
    const room = record.length - pageDataHeader.size;
    if (count * pageDataEntry.size > room) {
      const message = `${count} entries take ${count * pageDataEntry.size} bytes, the body has ${room}`;
      this.#diagnostics.report(LIBXC_RULES.pageEntries, place, message);
      return;
    }
    this.#seenLength = 0;
    this.#last = -1;
    this.#ascending = true;
    let pages = 0;
    let undefinedTypes = 0;
    for (;;) {
      const more = await entries.next();
      if (!more) break;
      const data = this.#checkBatch(record, context);
      pages += data.pages;
      undefinedTypes += data.undefinedTypes;
    }
    if (entries.first < count) return;
    if (!this.#ascending) this.#findDuplicates(record);
    const expected = pageDataHeader.size + count * pageDataEntry.size + pages * PAGE;
    // where a type isn't defined it can't be known whether it has data
    const slack = undefinedTypes * PAGE;
    if (
      record.length < expected ||
      record.length > expected + slack ||
      (record.length - expected) % PAGE !== 0
    ) {
      this.#diagnostics.report(
        LIBXC_RULES.pageLength,
        place,
        `${count} entries with ${pages} pages of data take ${expected} bytes, the body has ${record.length}`,
      );
    }
  }

  #checkBatch(record: StreamRecord, context: PageContext): { pages: number; undefinedTypes: number } {
    const { pfns, types, high, length } = this.#entries;
    const lastPfn = context.lastPfn ?? Number.POSITIVE_INFINITY;
    const tablesAllowed = context.guest !== "hvm";
    let pages = 0;
    let undefinedTypes = 0;
    let last = this.#last;
    let ascending = this.#ascending;
    for (let i = 0; i < length; i += 1) {
      const pfn = pfns[i] ?? 0;
      const kind = KIND[types[i] ?? 0] ?? 0;
      if (kind !== 0 || pfn >= PFN_LIMIT) {
        if (kind === 3) undefinedTypes += 1;
        else if (kind !== 0) pages += 1;
        if (kind === 3 || (kind === 2 && !tablesAllowed) || pfn > lastPfn || pfn >= PFN_LIMIT)
          this.#reportEntry(record, i, context);
      }
      if (hasReservedBits(high[i] ?? 0)) this.#reportReserved(record, i);
      if (pfn <= last && ascending) {
        this.#ascending = false;
        ascending = false;
      }
      last = pfn;
    }
    this.#last = last;
    this.#remember(length);
    return { pages, undefinedTypes };
  }

  /** Keeps this batch's pfns: an ascending record needs them only if a later batch breaks the order. */
  #remember(length: number): void {
    const room = Math.min(length, DUPLICATE_WINDOW - this.#seenLength);
    if (room <= 0) return;
    if (this.#seenLength + room > this.#seen.length) {
      const larger = new Float64Array(Math.min(DUPLICATE_WINDOW, 2 * (this.#seenLength + room)));
      larger.set(this.#seen.subarray(0, this.#seenLength));
      this.#seen = larger;
    }
    this.#seen.set(this.#entries.pfns.subarray(0, room), this.#seenLength);
    this.#seenLength += room;
  }

  #findDuplicates(record: StreamRecord): void {
    const sorted = this.#seen.subarray(0, this.#seenLength).sort();
    let reported = -1;
    for (let i = 1; i < sorted.length; i += 1) {
      const pfn = sorted[i] ?? 0;
      if (pfn !== sorted[i - 1] || pfn === reported) continue;
      reported = pfn;
      this.#diagnostics.report(
        LIBXC_RULES.pageDuplicate,
        placeOf(record),
        `pfn 0x${pfn.toString(16)} occurs more than once in this record`,
      );
    }
  }

  #reportEntry(record: StreamRecord, i: number, context: PageContext): void {
    const { pfns, types } = this.#entries;
    const type = types[i] ?? 0;
    const pfn = `pfn 0x${(pfns[i] ?? 0).toString(16)}`;
    const place = this.#entryPlace(record, i);
    if (KIND[type] === 3) {
      this.#diagnostics.report(LIBXC_RULES.pageType, place, `${pfn} has the reserved type ${type}`);
    } else if (KIND[type] === 2 && context.guest === "hvm") {
      this.#diagnostics.report(LIBXC_RULES.pvTypeInHvm, place, `${pfn} is of type ${PAGE_TYPE_NAMES[type]}`);
    }
    if (context.lastPfn !== undefined && (pfns[i] ?? 0) > context.lastPfn) {
      const end = `0x${context.lastPfn.toString(16)}`;
      this.#diagnostics.report(
        LIBXC_RULES.pageBeyondP2m,
        place,
        `${pfn} is beyond the guest's last pfn ${end}`,
      );
    } else if ((pfns[i] ?? 0) >= PFN_LIMIT) {
      this.#diagnostics.report(LIBXC_RULES.pageBeyondP2m, place, `${pfn} is beyond any machine's memory`);
    }
  }

  #reportReserved(record: StreamRecord, i: number): void {
    const bits = ((this.#entries.high[i] ?? 0) >>> 20) & 0xff;
    const ordinal = this.#entries.first + i;
    this.#diagnostics.report(
      LIBXC_RULES.pageEntryReserved,
      this.#entryPlace(record, i),
      `entry ${ordinal}: reserved bits 0x${bits.toString(16)}`,
    );
  }

  #entryPlace(record: StreamRecord, i: number): { offset: number; record: StreamRecord["ref"] } {
    const entry = this.#entries.first + i;
    return {
      offset: record.bodyOffset + pageDataHeader.size + entry * pageDataEntry.size,
      record: record.ref,
    };
  }
}
