import { viewOf } from "../../binary/layout.js";
import type { RecordBody } from "../record.js";
import { PAGE_TYPE_HAS_DATA, pageDataEntry, pageDataHeader } from "./layout.js";

/** Entries decoded at once; real Xen writes records of 1024. */
const BATCH = 4096;
const TWO_32 = 0x1_0000_0000;
/** Bits of an entry's high word. */
const PFN_HIGH = 0x000f_ffff;
const RESERVED = 0x0ff0_0000;
/** No machine has pfns from here on, whatever a stream says of its guest. */
export const PFN_LIMIT = 2 ** 40;

/** Whether bits 52 to 59 of an entry, in its high word, are not all zero. */
export function hasReservedBits(high: number): boolean {
  return (high & RESERVED) !== 0;
}

/**
 * The entries of one PAGE_DATA record, decoded a batch at a time into typed arrays that are used again.
 *
 * After `open`, each `next` fills `pfns`, `types` and `high` up to `length`. Contents of the entries that have them
 * follow one another from `contentsOffset` on, 4096 bytes each.
 */
export class PageEntries {
  /** Announced by the record. */
  count = 0;
  reserved = 0;
  /** Offset in the input of the first page's contents. */
  contentsOffset = 0;
  /** Entries of this batch. */
  length = 0;
  /** Ordinal in the record of the first entry of this batch. */
  first = 0;
  readonly pfns: Float64Array = new Float64Array(BATCH);
  readonly types: Uint8Array = new Uint8Array(BATCH);
  /** The entries' upper words, in the order of the stream. */
  readonly high: Uint32Array = new Uint32Array(BATCH);
  #body: RecordBody | undefined;
  #left = 0;

  /** Reads the head of a record. False: the body has no room for it. */
  async open(body: RecordBody): Promise<boolean> {
    this.#left = 0;
    this.length = 0;
    this.first = 0;
    const whole = body.need(pageDataHeader.size);
    if (!(whole instanceof Promise ? await whole : whole)) return false;
    const little = body.order === "little";
    this.count = body.view.getUint32(body.at, little);
    this.reserved = body.view.getUint32(body.at + 4, little);
    body.take(pageDataHeader.size);
    this.contentsOffset = body.offset + this.count * pageDataEntry.size;
    this.#body = body;
    this.#left = this.count;
    return true;
  }

  /** Decodes the next entries. False: there are no more, or the body or the input ends before. */
  async next(): Promise<boolean> {
    const body = this.#body;
    this.first += this.length;
    this.length = 0;
    const count = Math.min(this.#left, BATCH);
    if (body === undefined || count === 0) return false;
    const bytes = count * pageDataEntry.size;
    const whole = body.need(bytes);
    if (!(whole instanceof Promise ? await whole : whole)) return false;
    this.#decode(viewOf(body.take(bytes)), count, body.order === "little");
    this.#left -= count;
    return true;
  }

  #decode(view: DataView, count: number, little: boolean): void {
    const { pfns, types, high: highs } = this;
    const lowAt = little ? 0 : 4;
    const highAt = little ? 4 : 0;
    for (let i = 0; i < count; i += 1) {
      const high = view.getUint32(i * 8 + highAt, little);
      highs[i] = high;
      types[i] = high >>> 28;
      pfns[i] = (high & PFN_HIGH) * TWO_32 + view.getUint32(i * 8 + lowAt, little);
    }
    this.length = count;
  }

  /** Whether contents belong to entry `i` of this batch. */
  hasData(i: number): boolean {
    return PAGE_TYPE_HAS_DATA[this.types[i] ?? 0] === true;
  }
}
