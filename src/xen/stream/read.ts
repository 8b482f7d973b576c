import type { ByteOrder } from "../../binary/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import type { RecordRef } from "../../findings/finding.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { LIBXC_RECORD, MAX_BODY_LENGTH, OPTIONAL_TYPE, recordHeader } from "../libxc/layout.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { LIBXL_RECORD } from "../libxl/layout.js";
import { LIBXL_RULES } from "../libxl/rules.js";
import { placeOf, RecordBody, type RecordLayer, type StreamRecord } from "../record.js";
import { XL_MAGIC } from "../xl/layout.js";
import { readDomainHeader, readImageHeader, readLibxlHeader, readXlHeader } from "./headers.js";
import type { DomainHeaderItem, ImageHeaderItem, Layer, StreamItem, TrailingItem } from "./items.js";
import { STREAM_RULES } from "./rules.js";

/** How a stream is read. */
export interface XenStreamOptions {
  /** Outermost layer; default: found by the first bytes. */
  readonly layer?: Layer;
  /** Take no byte after the stream's END: the descriptor is shared. Trailing data are not looked for. */
  readonly exact?: boolean;
  /** Begin at libxc's first record: the headers before it are damaged. */
  readonly resume?: { readonly first: number; readonly order: ByteOrder; readonly outer: Layer };
}

/** Names by type, of both layers. */
const NAMES = {
  libxl: new Map<number, string>(Object.entries(LIBXL_RECORD).map(([name, type]) => [type, name])),
  libxc: new Map<number, string>(Object.entries(LIBXC_RECORD).map(([name, type]) => [type, name])),
};

/** `PAGE_DATA`, `type 0x80000001`. */
export function recordName(layer: RecordLayer, type: number): string {
  return NAMES[layer].get(type) ?? `type 0x${type.toString(16)}`;
}

const HANDSHAKE = "domain is yours, you are cleared to unpause";
const HANDSHAKE_SIZE = 64;

/**
 * A Xen migration stream, read in order through all its layers.
 *
 * States: which layer the next record is of. libxl gives control to libxc with LIBXC_CONTEXT; libxc gives it back
 * with END, or with CHECKPOINT until libxl's CHECKPOINT_END. Without libxl around there is only libxc.
 */
export class XenStream {
  readonly name: string;
  readonly reader: ByteReader;
  readonly diagnostics: Diagnostics;
  readonly #options: XenStreamOptions;
  readonly #counts = { libxl: 0, libxc: 0 };
  #body: RecordBody;
  #complete = false;

  constructor(input: ByteSource | ByteStream, diagnostics: Diagnostics, options: XenStreamOptions = {}) {
    this.name = input.name;
    this.reader = new ByteReader(input, { exact: options.exact ?? false });
    this.diagnostics = diagnostics;
    this.#options = options;
    this.#body = new RecordBody(this.reader, 0, "little");
  }

  /** Body of the current record. What isn't read of it is skipped. */
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
    const { resume } = this.#options;
    const outer = resume?.outer ?? this.#options.layer ?? (await this.#detectLayer());
    if (outer === undefined) return;
    if (outer === "xl" && resume === undefined) {
      const item = await readXlHeader(this);
      if (item === undefined) return;
      yield item;
    }
    let layer: RecordLayer = outer === "libxc" || resume !== undefined ? "libxc" : "libxl";
    if (resume !== undefined) {
      order = resume.order;
      await this.reader.skip(resume.first);
    } else if (layer === "libxl") {
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
          this.diagnostics.report(
            LIBXL_RULES.checkpointOpen,
            placeOf(record),
            "the libxc stream has not reached its END",
          );
        }
        break;
      }
      if (record.type === LIBXL_RECORD.LIBXC_CONTEXT) {
        if (inner !== "none") {
          this.diagnostics.report(LIBXL_RULES.repeatedContext, placeOf(record), "a second LIBXC_CONTEXT");
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
          this.diagnostics.report(
            LIBXL_RULES.checkpointEnd,
            placeOf(record),
            "no CHECKPOINT comes before it",
          );
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
    this.diagnostics.report(STREAM_RULES.magic, { offset: 0 }, "no layer of a Xen stream starts like this");
    return undefined;
  }

  async #libxcHeaders(
    around: ByteOrder | undefined,
  ): Promise<readonly (ImageHeaderItem | DomainHeaderItem | undefined)[]> {
    const image = await readImageHeader(this, around);
    return image === undefined ? [undefined] : [image, await readDomainHeader(this, image.order)];
  }

  async #record(layer: RecordLayer, order: ByteOrder): Promise<StreamRecord | undefined> {
    const { reader, diagnostics } = this;
    const offset = reader.position;
    const whole = reader.need(recordHeader.size);
    if (!(whole instanceof Promise ? await whole : whole)) {
      const there = reader.available;
      const message =
        there === 0
          ? `the input ends here, before ${layer}'s END`
          : `${8 - there} bytes of a record header are missing`;
      diagnostics.report(STREAM_RULES.truncated, { offset: offset + there }, message);
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
      diagnostics.report(
        rule,
        placeOf(record),
        `body of ${bodyLength} bytes: nothing after this record can be found`,
      );
      return undefined;
    }
    this.#body = new RecordBody(reader, bodyLength, order);
    return record;
  }

  /** Skips what is left of a body and its padding. */
  async #finish(record: StreamRecord): Promise<boolean> {
    const { reader, diagnostics } = this;
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
      diagnostics.report(rule, place, `the ${padding} bytes of padding are not zero`);
    }
    return true;
  }

  #cut(record: StreamRecord, missing: number): false {
    this.diagnostics.report(
      STREAM_RULES.truncated,
      { offset: record.bodyOffset + record.length + (-record.length & 7) - missing, record: record.ref },
      `the input ends ${missing} bytes before the end of this record, and END is missing`,
    );
    return false;
  }

  #lost(record: StreamRecord): void {
    this.diagnostics.report(
      STREAM_RULES.framingLost,
      placeOf(record),
      "two consecutive records have unknown types; record framing is lost",
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
