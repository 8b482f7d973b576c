import type { PagesChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import { BATCH_LIMIT, type GuestKind, hasData, isPageTable, PAGE, TYPE } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";

/** What the entries of a batch are checked against. */
export interface BatchContext {
  readonly p2mSize: number;
  readonly guest: GuestKind;
  /** Contents come in compressed chunks. */
  readonly compressed: boolean;
  readonly verify: boolean;
}

const PFN_MASK = 0x0fffffff;

/** Reads the entries of page batches and checks them; one for a stream, so that its arrays serve every batch. */
export class BatchReader {
  readonly #entries = new Uint32Array(BATCH_LIMIT);
  readonly #pfns = new Uint32Array(BATCH_LIMIT);

  /** Reads the entries of a batch of `count` whose id is at `offset`. */
  async read(
    cursor: Cursor,
    offset: number,
    index: number,
    count: number,
    context: BatchContext,
  ): Promise<PagesChunk> {
    if (count > BATCH_LIMIT) {
      cursor.fail(LEGACY_RULES.batchSize, offset, `a batch of ${count} entries, at most ${BATCH_LIMIT}`);
    }
    const ulong = cursor.ulongSize;
    await cursor.need(count * ulong, "page batch");
    const { view, at } = cursor.reader;
    const entries = this.#entries.subarray(0, count);
    const pageTables = context.guest === "pv";
    let dataPages = 0;
    let ascending = true;
    let previous = -1;
    for (let i = 0; i < count; i += 1) {
      const entry = view.getUint32(at + i * ulong, true);
      entries[i] = entry;
      const type = entry >>> 28;
      const pfn = entry & PFN_MASK;
      if (type === TYPE.invalid && pfn === 0) continue;
      const place = offset + 4 + i * ulong;
      if (ulong === 8 && view.getUint32(at + i * 8 + 4, true) !== 0) {
        cursor.report(LEGACY_RULES.pfnRange, place, `entry ${i} has a non-zero upper half`);
      }
      if (pfn >= context.p2mSize) {
        cursor.fail(
          LEGACY_RULES.pfnRange,
          place,
          `pfn 0x${pfn.toString(16)} is beyond p2m_size 0x${context.p2mSize.toString(16)}`,
        );
      }
      if (hasData(type)) {
        dataPages += 1;
        if (!pageTables && isPageTable(type)) {
          cursor.report(
            LEGACY_RULES.pageTableInHvm,
            place,
            `pfn 0x${pfn.toString(16)} has page table type ${type}`,
          );
        }
      } else if (type < TYPE.broken) {
        cursor.fail(LEGACY_RULES.reservedType, place, `pfn 0x${pfn.toString(16)} has reserved type ${type}`);
      }
      if (pfn <= previous) ascending = false;
      previous = pfn;
    }
    if (!ascending) this.#findDuplicates(cursor, offset, entries);
    cursor.reader.take(count * ulong);
    const dataLength = context.compressed ? 0 : dataPages * PAGE;
    return {
      kind: "pages",
      offset,
      index,
      entries,
      dataPages,
      compressed: context.compressed,
      verify: context.verify,
      dataLength,
      dataOffset: cursor.position,
    };
  }

  #findDuplicates(cursor: Cursor, offset: number, entries: Uint32Array): void {
    let count = 0;
    for (const entry of entries) {
      if (entry >>> 28 === TYPE.invalid) continue;
      this.#pfns[count] = entry & PFN_MASK;
      count += 1;
    }
    const sorted = this.#pfns.subarray(0, count).sort();
    for (let i = 1; i < count; i += 1) {
      const pfn = sorted[i] ?? 0;
      if (pfn === sorted[i - 1]) {
        cursor.report(
          LEGACY_RULES.duplicatePfn,
          offset,
          `pfn 0x${pfn.toString(16)} occurs twice in one batch`,
        );
      }
    }
  }
}
