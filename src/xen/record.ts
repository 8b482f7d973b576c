import type { ByteOrder } from "../binary/layout.js";
import type { FindingPlace } from "../findings/diagnostics.js";
import type { RecordRef } from "../findings/finding.js";
import type { ByteReader } from "../io/byte-reader.js";
import type { MaybePromise } from "../io/byte-source.js";

/** The layers whose records a stream is made of. */
export type RecordLayer = "libxl" | "libxc";

/** A record of the libxl or libxc layer, without its body. */
export interface StreamRecord {
  readonly kind: "record";
  readonly ref: RecordRef;
  readonly layer: RecordLayer;
  /** Number of its type within the layer. */
  readonly type: number;
  /** Bytes from the start of the input to the record's header. */
  readonly offset: number;
  /** Bytes from the start of the input to its body. */
  readonly bodyOffset: number;
  /** Bytes of the body as the header announces them, without padding. */
  readonly length: number;
}

/** The place of findings about a record as a whole: its header. */
export function placeOf(record: StreamRecord): FindingPlace {
  return { offset: record.offset, record: record.ref };
}

/** The body of the current record, read in pieces, so that a large one is never in memory as a whole. */
export class RecordBody {
  readonly order: ByteOrder;
  readonly length: number;
  readonly #reader: ByteReader;
  readonly #end: number;

  constructor(reader: ByteReader, length: number, order: ByteOrder) {
    this.#reader = reader;
    this.length = length;
    this.#end = reader.position + length;
    this.order = order;
  }

  /** Offset in the input of the next byte. */
  get offset(): number {
    return this.#reader.position;
  }

  /** Bytes of the body not yet taken. */
  get remaining(): number {
    return this.#end - this.#reader.position;
  }

  /** Makes `count` bytes available; false when the body or the input ends before. */
  need(count: number): MaybePromise<boolean> {
    return count <= this.remaining && this.#reader.need(count);
  }

  get view(): DataView {
    return this.#reader.view;
  }

  /** Index in `view` of the next byte. */
  get at(): number {
    return this.#reader.at;
  }

  /** Takes bytes that `need` made available: a view that holds until the next `need` or `skip`. */
  take(count: number): Uint8Array {
    return this.#reader.take(Math.min(count, this.remaining));
  }

  skip(count: number): MaybePromise<number> {
    return this.#reader.skip(Math.min(count, this.remaining));
  }

  /** All that is left of the body, copied, up to `limit` bytes; fewer when the input ends. */
  async rest(limit: number): Promise<Uint8Array> {
    const wanted = Math.min(limit, this.remaining);
    const parts: Uint8Array[] = [];
    for (let left = wanted; left > 0; ) {
      const part = Math.min(left, 1 << 20);
      const whole = await this.need(part);
      parts.push(this.take(part).slice());
      if (!whole) break;
      left -= part;
    }
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
