import { type ByteOrder, viewOf } from "../../binary/layout.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { Resynchronizer } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import {
  LIBXC_RECORD,
  MAX_BODY_LENGTH,
  PAGE_TYPE_DEFINED,
  PAGE_TYPE_HAS_DATA,
  pageDataHeader,
  pvInfo,
  recordHeader,
  SHARED_INFO_SIZE,
  tscInfo,
} from "../libxc/layout.js";
import { LIBXL_RECORD } from "../libxl/layout.js";

/** Records in a row that are checked after a lost part. */
const PROOF = 3;
/** Records of state that follow the last batch: no real guest has more, with some for each vCPU. */
const MOST_STATE_RECORDS = 4096;
const KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXC_RECORD));
const LIBXL_KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXL_RECORD));
/** Entries of one record: more are no plausible batch. */
const MOST_ENTRIES = 1 << 16;
/** Bytes of a batch of one page. */
const LEAST_BATCH = pageDataHeader.size + 8 + PAGE_SIZE;
/** No machine has frames from here on: 2^40, of which the upper word's share. */
const PFN_HIGH_LIMIT = 0x100;

/** The header of a record, of either layer. */
export interface RecordHead {
  readonly type: number;
  readonly length: number;
  /** Where the next record begins. */
  readonly next: number;
}

/** How far a record can be believed: not at all, by its form, or by its contents. */
type Trust = "none" | "form" | "proven";

/** Looks at the records of the libxc layer at any offset, and judges by their forms whether they are some. */
export class RecordWalk {
  readonly #input: ByteSource;
  readonly #order: ByteOrder;
  readonly #bytes = new Uint8Array(recordHeader.size);

  constructor(input: ByteSource, order: ByteOrder) {
    this.#input = input;
    this.#order = order;
  }

  /** The header of a record at an offset; undefined where the input ends before it does. */
  async header(offset: number): Promise<RecordHead | undefined> {
    if ((await readBefore(this.#input, offset, this.#bytes)) < recordHeader.size) return undefined;
    const { type, bodyLength: length } = recordHeader.read(viewOf(this.#bytes), 0, this.#order);
    return { type, length, next: offset + recordHeader.size + length + (-length & 7) };
  }

  /** Whether a record of another type is a batch with pages, by its length and entries: its type is damaged. */
  async isUntypedBatch(offset: number, { type, length, next }: RecordHead): Promise<boolean> {
    if (type === LIBXC_RECORD.PAGE_DATA || length < LEAST_BATCH || next > this.#input.size) return false;
    if (length > MAX_BODY_LENGTH || !(await this.isBatch(offset, length))) return false;
    // an HVM_CONTEXT of 4112 bytes begins as a batch of one page would, but for what is reserved there
    const head = new Uint8Array(pageDataHeader.size);
    await readBefore(this.#input, offset + recordHeader.size, head);
    return pageDataHeader.read(viewOf(head), 0, this.#order).reserved === 0;
  }

  /** How far the record at an offset can be believed. */
  async trust(offset: number, { type, length, next }: RecordHead): Promise<Trust> {
    if (length > MAX_BODY_LENGTH || next > this.#input.size) return "none";
    if (type === LIBXC_RECORD.PAGE_DATA) return (await this.isBatch(offset, length)) ? "proven" : "none";
    if (!KNOWN.has(type)) return "none";
    const isEmpty = EMPTY.has(type);
    if (isEmpty !== (length === 0) || length > MOST_STATE) return "none";
    if ((SIZES.get(type) ?? length) !== length) return "none";
    return "form";
  }

  /** Whether a record may be whole but for the end of the input, which comes before its own. */
  isCut({ type, length, next }: RecordHead): boolean {
    return KNOWN.has(type) && length <= MAX_BODY_LENGTH && next > this.#input.size;
  }

  /** Whether a PAGE_DATA record's length is what its entries ask for. */
  async isBatch(offset: number, length: number): Promise<boolean> {
    if (length < pageDataHeader.size) return false;
    const head = new Uint8Array(pageDataHeader.size);
    const body = offset + recordHeader.size;
    if ((await readBefore(this.#input, body, head)) < head.length) return false;
    const little = this.#order === "little";
    const count = viewOf(head).getUint32(0, little);
    if (count === 0 || count > MOST_ENTRIES || head.length + count * 8 > length) return false;
    const entries = new Uint8Array(count * 8);
    if ((await readBefore(this.#input, body + head.length, entries)) < entries.length) return false;
    const view = viewOf(entries);
    let pages = 0;
    for (let at = 0; at < entries.length; at += 8) {
      const high = view.getUint32(at + (little ? 4 : 0), little);
      const type = high >>> 28;
      if (PAGE_TYPE_DEFINED[type] !== true || (high & 0x0fff_ffff) >= PFN_HIGH_LIMIT) return false;
      if (PAGE_TYPE_HAS_DATA[type] === true) pages += 1;
    }
    return head.length + entries.length + pages * PAGE_SIZE === length;
  }

  /** How many records in a row begin at a place, PROOF at most; 0 where they prove nothing. */
  async proof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    // state alone proves nothing until the end is reached
    for (let at = offset; count < (isProven ? PROOF : MOST_STATE_RECORDS); ) {
      const header = await this.header(at);
      const trust = header === undefined ? "none" : await this.trust(at, header);
      if (header === undefined || trust === "none") return isProven && count > 1 ? count : 0;
      isProven ||= trust === "proven";
      count += 1;
      // zeros look like END: it counts only after others
      if (header.type === LIBXC_RECORD.END) {
        if (count === 1) return 0;
        const isLast = isProven ? await this.isEnd(header.next) : await this.#endsInput(header.next);
        return isLast ? count : 0;
      }
      at = header.next;
    }
    return isProven ? count : 0;
  }

  /** Whether the input ends after END, or records of the layer around go up to its end. */
  async #endsInput(after: number): Promise<boolean> {
    for (let at = after, count = 0; at < this.#input.size && count < MOST_STATE_RECORDS; count += 1) {
      const header = await this.header(at);
      if (header === undefined || !LIBXL_KNOWN.has(header.type) || header.next > this.#input.size)
        return false;
      if (header.type === LIBXL_RECORD.END) return header.length === 0 && header.next === this.#input.size;
      at = header.next;
    }
    return after === this.#input.size;
  }

  /** Whether what follows END is the input's end or records of the layer around: zeros look like END too. */
  async isEnd(after: number): Promise<boolean> {
    if (after + recordHeader.size > this.#input.size) return true;
    const header = await this.header(after);
    if (header === undefined) return true;
    if (header.type === LIBXL_RECORD.END) return header.length === 0 && header.next === this.#input.size;
    return LIBXL_KNOWN.has(header.type) && header.next <= this.#input.size;
  }

  /** Finds places at which records in a row begin: every `step` bytes of those that are looked at. */
  finder(step: 1 | 8): Resynchronizer {
    const little = this.#order === "little";
    return new Resynchronizer(this.#input, {
      step,
      head: recordHeader.size,
      isLikely: (view, at) => {
        const type = view.getUint32(at, little);
        return (
          type !== LIBXC_RECORD.END && KNOWN.has(type) && view.getUint32(at + 4, little) <= MAX_BODY_LENGTH
        );
      },
      proof: (offset) => this.proof(offset),
    });
  }
}

/** Records that have no body. */
const EMPTY: ReadonlySet<number> = new Set([
  LIBXC_RECORD.END,
  LIBXC_RECORD.VERIFY,
  LIBXC_RECORD.CHECKPOINT,
  LIBXC_RECORD.STATIC_DATA_END,
]);
/** Bytes of the records whose bodies always have as many. */
const SIZES: ReadonlyMap<number, number> = new Map([
  [LIBXC_RECORD.X86_PV_INFO, pvInfo.size],
  [LIBXC_RECORD.SHARED_INFO, SHARED_INFO_SIZE],
  [LIBXC_RECORD.X86_TSC_INFO, tscInfo.size],
]);
/** Bytes of a record of state: no real one has more. */
const MOST_STATE = 64 << 20;
