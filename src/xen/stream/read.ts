import { type ByteOrder, type RecordOf, viewOf } from "../../binary/layout.js";
import type { FindingPlace, Rule } from "../../findings/index.js";
import { type RecordRef, violation } from "../../findings/index.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource, ByteStream, MaybePromise } from "../../io/byte-source.js";
import {
  type domainHeader,
  type imageHeader,
  LIBXC_RECORD,
  MAX_BODY_LENGTH,
  OPTIONAL_TYPE,
  recordHeader,
} from "../libxc/layout.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { LIBXL_RECORD, type libxlHeader } from "../libxl/layout.js";
import { LIBXL_RULES } from "../libxl/rules.js";
import { readDomainHeader, readImageHeader, readLibxlHeader, readXlHeader } from "./headers.js";
import { STREAM_RULES } from "./rules.js";
import { XL_MAGIC, type xlHeader } from "../xl/layout.js";

/** Where a reader reports what is wrong. A `Report` is one; `strictly` makes one that throws. */
export interface Problems {
  add(rule: Rule, place: FindingPlace, message: string): void;
}

/** Throws the first error as a FormatError and passes over warnings and notes. */
export function strictly(source: string): Problems {
  return {
    add(rule, place, message) {
      if (rule.severity === "error") throw violation(rule, source, place, message);
    },
  };
}

export type Layer = "xl" | "libxl" | "libxc";

export interface XlHeaderItem {
  readonly kind: "xl-header";
  readonly offset: number;
  readonly header: RecordOf<typeof xlHeader>;
  readonly order: ByteOrder;
  /** Without its closing NUL. */
  readonly config: string | undefined;
  /** Whether the header calls the configuration JSON. */
  readonly json: boolean;
}

export interface LibxlHeaderItem {
  readonly kind: "libxl-header";
  readonly offset: number;
  readonly header: RecordOf<typeof libxlHeader>;
  readonly order: ByteOrder;
}

export interface ImageHeaderItem {
  readonly kind: "image-header";
  readonly offset: number;
  readonly header: RecordOf<typeof imageHeader>;
  readonly order: ByteOrder;
}

export interface DomainHeaderItem {
  readonly kind: "domain-header";
  readonly offset: number;
  readonly header: RecordOf<typeof domainHeader>;
}

/** A record of the libxl or libxc layer; its body is `stream.body` until the next item is asked for. */
export interface StreamRecord {
  readonly kind: "record";
  readonly ref: RecordRef;
  readonly layer: "libxl" | "libxc";
  readonly type: number;
  /** Offset of the record's header. */
  readonly offset: number;
  readonly bodyOffset: number;
  readonly length: number;
}

/** Bytes behind the last END. */
export interface TrailingItem {
  readonly kind: "trailing";
  readonly offset: number;
  readonly size: number;
  /** The hand-shake of a live migration rather than data. */
  readonly handshake: boolean;
}

export type StreamItem =
  | XlHeaderItem
  | LibxlHeaderItem
  | ImageHeaderItem
  | DomainHeaderItem
  | StreamRecord
  | TrailingItem;

export interface XenStreamOptions {
  /** Outermost layer; default: told by the first bytes. */
  readonly layer?: Layer;
  /** Take no byte behind the stream's END: the descriptor is shared. Trailing data are not looked for. */
  readonly exact?: boolean;
}

/** Names by type, of both layers. */
const NAMES = {
  libxl: new Map<number, string>(Object.entries(LIBXL_RECORD).map(([name, type]) => [type, name])),
  libxc: new Map<number, string>(Object.entries(LIBXC_RECORD).map(([name, type]) => [type, name])),
};

/** `PAGE_DATA`, `type 0x80000001`. */
export function recordName(layer: "libxl" | "libxc", type: number): string {
  return NAMES[layer].get(type) ?? `type 0x${type.toString(16)}`;
}

const HANDSHAKE = "domain is yours, you are cleared to unpause";
const HANDSHAKE_SIZE = 64;

/** The body of the record in hand: pulled in pieces, so that a large one is never in memory as a whole. */
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

/**
 * A Xen migration stream, read in order through all its layers.
 *
 * States: which layer the next record is of. libxl gives control to libxc with LIBXC_CONTEXT; libxc gives it back
 * with END, or with CHECKPOINT until libxl's CHECKPOINT_END. Without libxl around there is only libxc.
 */
export class XenStream {
  readonly name: string;
  readonly reader: ByteReader;
  readonly problems: Problems;
  readonly #options: XenStreamOptions;
  readonly #counts = { libxl: 0, libxc: 0 };
  #body: RecordBody;
  #complete = false;

  constructor(input: ByteSource | ByteStream, problems: Problems, options: XenStreamOptions = {}) {
    this.name = input.name;
    this.reader = new ByteReader(input, { exact: options.exact ?? false });
    this.problems = problems;
    this.#options = options;
    this.#body = new RecordBody(this.reader, 0, "little");
  }

  /** Body of the record that came last. What isn't read of it is passed over. */
  get body(): RecordBody {
    return this.#body;
  }

  /** True when the outermost END was reached. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Everything in the stream, in order. Ends early, after reporting why, where the framing can't be trusted. */
  async *items(): AsyncGenerator<StreamItem, void, undefined> {
    let order: ByteOrder = "little";
    const outer = this.#options.layer ?? (await this.#detectLayer());
    if (outer === undefined) return;
    if (outer === "xl") {
      const item = await readXlHeader(this);
      if (item === undefined) return;
      yield item;
    }
    let layer: "libxl" | "libxc" = outer === "libxc" ? "libxc" : "libxl";
    if (layer === "libxl") {
      const item = await readLibxlHeader(this);
      if (item === undefined) return;
      order = item.order;
      yield item;
    } else {
      for (const item of await this.#libxcHeaders(undefined)) {
        if (item === undefined) return;
        if (item.kind === "image-header") order = item.order;
        yield item;
      }
    }
    /** Of the libxc stream inside libxl. */
    let inner: "none" | "open" | "checkpoint" | "ended" = layer === "libxc" ? "open" : "none";
    const outerOrder = order;
    let innerOrder = order;
    let unknownBefore = false;
    for (;;) {
      const record = await this.#record(layer, layer === "libxc" ? innerOrder : outerOrder);
      if (record === undefined) return;
      yield record;
      if (!(await this.#finish(record))) return;
      const unknown = record.type < OPTIONAL_TYPE && !NAMES[layer].has(record.type);
      if (unknown && unknownBefore) {
        this.#lost(record);
        return;
      }
      unknownBefore = unknown;
      if (layer === "libxc") {
        if (record.type === LIBXC_RECORD.END) {
          if (outer === "libxc") break;
          inner = "ended";
          layer = "libxl";
        } else if (record.type === LIBXC_RECORD.CHECKPOINT && outer !== "libxc") {
          inner = "checkpoint";
          layer = "libxl";
        }
        continue;
      }
      if (record.type === LIBXL_RECORD.END) {
        if (inner === "checkpoint") {
          this.problems.add(
            LIBXL_RULES.checkpointOpen,
            placeOf(record),
            "the libxc stream has not reached its END",
          );
        }
        break;
      }
      if (record.type === LIBXL_RECORD.LIBXC_CONTEXT) {
        if (inner !== "none") {
          this.problems.add(LIBXL_RULES.repeatedContext, placeOf(record), "a second LIBXC_CONTEXT");
        }
        for (const item of await this.#libxcHeaders(outerOrder)) {
          if (item === undefined) return;
          if (item.kind === "image-header") innerOrder = item.order;
          yield item;
        }
        inner = "open";
        layer = "libxc";
      } else if (record.type === LIBXL_RECORD.CHECKPOINT_END) {
        if (inner === "checkpoint") {
          inner = "open";
          layer = "libxc";
        } else {
          this.problems.add(LIBXL_RULES.checkpointEnd, placeOf(record), "no CHECKPOINT stands before it");
        }
      }
    }
    this.#complete = true;
    if (this.#options.exact !== true) yield* this.#trailing();
  }

  async #detectLayer(): Promise<Layer | undefined> {
    await this.reader.need(8);
    const head = this.reader.peek(8);
    if (head.length > 0 && head.every((byte, i) => byte === XL_MAGIC[i])) return "xl";
    if (head.length === 8 && head.every((byte) => byte === 0xff)) return "libxc";
    if (String.fromCharCode(...head) === "LibxlFmt") return "libxl";
    this.problems.add(STREAM_RULES.magic, { offset: 0 }, "no layer of a Xen stream starts like this");
    return undefined;
  }

  async #libxcHeaders(
    around: ByteOrder | undefined,
  ): Promise<readonly (ImageHeaderItem | DomainHeaderItem | undefined)[]> {
    const image = await readImageHeader(this, around);
    return image === undefined ? [undefined] : [image, await readDomainHeader(this, image.order)];
  }

  async #record(layer: "libxl" | "libxc", order: ByteOrder): Promise<StreamRecord | undefined> {
    const { reader, problems } = this;
    const offset = reader.position;
    const whole = reader.need(recordHeader.size);
    if (!(whole instanceof Promise ? await whole : whole)) {
      const there = reader.available;
      const message =
        there === 0
          ? `the input ends here, before ${layer}'s END`
          : `${8 - there} bytes of a record header are missing`;
      problems.add(STREAM_RULES.truncated, { offset: offset + there }, message);
      return undefined;
    }
    const { type, bodyLength } = recordHeader.read(reader.view, reader.at, order);
    reader.take(recordHeader.size);
    const ref: RecordRef = { layer, index: this.#counts[layer], type: recordName(layer, type) };
    this.#counts[layer] += 1;
    const record: StreamRecord = {
      kind: "record",
      ref,
      layer,
      type,
      offset,
      bodyOffset: reader.position,
      length: bodyLength,
    };
    if (bodyLength > MAX_BODY_LENGTH) {
      const rule = layer === "libxc" ? LIBXC_RULES.tooLong : LIBXL_RULES.tooLong;
      problems.add(
        rule,
        placeOf(record),
        `body of ${bodyLength} bytes: nothing behind this record can be found`,
      );
      return undefined;
    }
    this.#body = new RecordBody(reader, bodyLength, order);
    return record;
  }

  /** Passes over what is left of a body and its padding. */
  async #finish(record: StreamRecord): Promise<boolean> {
    const { reader, problems } = this;
    const left = this.#body.remaining;
    if (left > 0) {
      const skipped = reader.skip(left);
      const n = skipped instanceof Promise ? await skipped : skipped;
      if (n < left) return this.#cut(record, left - n + (-record.length & 7));
    }
    const padding = -record.length & 7;
    if (padding === 0) return true;
    if (!(await reader.need(padding))) return this.#cut(record, padding - reader.available);
    if (reader.take(padding).some((byte) => byte !== 0)) {
      const rule = record.layer === "libxc" ? LIBXC_RULES.padding : LIBXL_RULES.padding;
      const place = { offset: reader.position - padding, record: record.ref };
      problems.add(rule, place, `the ${padding} bytes of padding are not zero`);
    }
    return true;
  }

  #cut(record: StreamRecord, missing: number): false {
    this.problems.add(
      STREAM_RULES.truncated,
      { offset: record.bodyOffset + record.length + (-record.length & 7) - missing, record: record.ref },
      `the input ends ${missing} bytes before the end of this record, and END is missing`,
    );
    return false;
  }

  #lost(record: StreamRecord): void {
    this.problems.add(
      STREAM_RULES.framingLost,
      placeOf(record),
      "a second unknown type in a row: these are no records any more",
    );
  }

  async *#trailing(): AsyncGenerator<TrailingItem, void, undefined> {
    const { reader } = this;
    const offset = reader.position;
    await reader.need(HANDSHAKE_SIZE);
    const head = reader.peek(HANDSHAKE_SIZE);
    if (head.length === 0) return;
    const handshake = String.fromCharCode(...head) === `${HANDSHAKE}\0`;
    const size = await reader.skip(Number.MAX_SAFE_INTEGER - offset);
    yield { kind: "trailing", offset, size, handshake };
  }
}

/** The place of findings about a record as a whole. */
export function placeOf(record: StreamRecord): FindingPlace {
  return { offset: record.offset, record: record.ref };
}

/** Whether eight bytes open any layer of a stream with version 2 or 3 in it; an xl header tells by its flags. */
export function startsXenStream(head: Uint8Array): boolean {
  if (head.length < 8) return false;
  if (head.subarray(0, 8).every((byte) => byte === 0xff)) {
    // a picture of white pixels starts so too: 'XENF' follows, if there is anything
    return head.length < 12 || viewOf(head).getUint32(8) === 0x58454e46;
  }
  return String.fromCharCode(...head.subarray(0, 8)) === "LibxlFmt";
}
