import { firstAtLeast } from "../../binary/search.js";
import { latin1, viewOf } from "../../binary/layout.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import { formatError } from "../../findings/diagnostics.js";
import type { FormatError } from "../../findings/errors.js";
import {
  FLATTENED_END,
  FLATTENED_HEADER_SIZE,
  FLATTENED_SIGNATURE,
  flattenedHeader,
  flattenedRecord,
} from "./layout.js";
import { KDUMP_RULES } from "./rules.js";

const GROWTH = 1024;

/** Whether a file begins as a flattened dump. */
export function isFlattened(head: Uint8Array): boolean {
  return latin1(head.subarray(0, 13)) === `${FLATTENED_SIGNATURE}\0`;
}

/** Runs of bytes by where they go: columns, since a large dump has hundreds of thousands. */
class Records {
  /** Offset in the plain file, ascending after `sort`. */
  to = new Float64Array(GROWTH);
  size = new Float64Array(GROWTH);
  /** Offset in the flattened file: its order is the order of writing. */
  from = new Float64Array(GROWTH);
  /** Highest end of this and all earlier records. */
  reach = new Float64Array(0);
  length = 0;

  add(to: number, size: number, from: number): void {
    if (this.length === this.to.length) {
      this.to = larger(this.to);
      this.size = larger(this.size);
      this.from = larger(this.from);
    }
    this.to[this.length] = to;
    this.size[this.length] = size;
    this.from[this.length] = from;
    this.length += 1;
  }

  sort(): void {
    const order = Uint32Array.from({ length: this.length }, (_, i) => i);
    const { to, from } = this;
    order.sort((a, b) => (to[a] ?? 0) - (to[b] ?? 0) || (from[a] ?? 0) - (from[b] ?? 0));
    const pick = (column: Float64Array): Float64Array<ArrayBuffer> =>
      Float64Array.from(order, (i) => column[i] ?? 0);
    [this.to, this.size, this.from] = [pick(to), pick(this.size), pick(from)];
    this.reach = new Float64Array(this.length);
    let reach = 0;
    for (let i = 0; i < this.length; i += 1) {
      reach = Math.max(reach, (this.to[i] ?? 0) + (this.size[i] ?? 0));
      this.reach[i] = reach;
    }
  }
}

const larger = (column: Float64Array): Float64Array<ArrayBuffer> => {
  const twice = new Float64Array(column.length * 2);
  twice.set(column);
  return twice;
};

/**
 * A flattened dump read as the plain file it stands for, without a second copy. Where records overlap the
 * last written holds; what no record covers reads as zeros (`covers` tells).
 */
export class FlattenedSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  /** Whether the end marker was there. */
  readonly complete: boolean;
  /** Bytes behind the end marker. */
  readonly trailing: number;
  /** Records whose bytes another one writes as well. */
  readonly overlaps: number;
  readonly #source: ByteSource;
  readonly #records: Records;

  private constructor(source: ByteSource, records: Records, complete: boolean, end: number) {
    records.sort();
    this.name = source.name;
    this.#source = source;
    this.#records = records;
    this.size = records.reach.at(-1) ?? 0;
    this.complete = complete;
    this.trailing = complete ? source.size - end : 0;
    let overlaps = 0;
    for (let i = 1; i < records.length; i += 1)
      if ((records.to[i] ?? 0) < (records.reach[i - 1] ?? 0)) overlaps += 1;
    this.overlaps = overlaps;
  }

  get recordCount(): number {
    return this.#records.length;
  }

  /** Reads the heads of all records. @throws FormatError `kdump/flattened` */
  static async open(source: ByteSource): Promise<FlattenedSource> {
    const reader = new ByteReader(source, { window: 64 << 10 });
    const fail = (message: string, offset: number): FormatError =>
      formatError(KDUMP_RULES.flattened, source.name, { offset }, message);
    if (!(await reader.need(FLATTENED_HEADER_SIZE)))
      throw fail("the file ends within the header of the flattened form", 0);
    const { type, version } = decodeHeader(reader.peek(flattenedHeader.size), fail);
    if (type !== 1 || version !== 1) throw fail(`flattened form of type ${type}, version ${version}`, 16);
    reader.take(FLATTENED_HEADER_SIZE);
    const records = new Records();
    let complete = false;
    for (;;) {
      const more = reader.need(flattenedRecord.size);
      if (!(more instanceof Promise ? await more : more)) break;
      const offset = reader.view.getBigUint64(reader.at, false);
      const size = reader.view.getBigUint64(reader.at + 8, false);
      const at = reader.position;
      reader.take(flattenedRecord.size);
      if (offset === FLATTENED_END && size === FLATTENED_END) {
        complete = true;
        break;
      }
      if (offset + size >= 2n ** 53n) throw fail(`a record at offset ${offset} of ${size} bytes`, at);
      const from = reader.position;
      const skipped = reader.skip(Number(size));
      const there = skipped instanceof Promise ? await skipped : skipped;
      if (there > 0) records.add(Number(offset), there, from);
      if (there < Number(size)) break;
    }
    return new FlattenedSource(source, records, complete, reader.position);
  }

  /** Index of the last record that starts before `end`; -1 when there is none. */
  #lastBefore(end: number): number {
    return firstAtLeast(this.#records.to, end, this.#records.length) - 1;
  }

  /** Records that have bytes within [start, end), in the order of writing. */
  #within(start: number, end: number): number[] {
    const { to, size, from, reach } = this.#records;
    const found: number[] = [];
    for (let i = this.#lastBefore(end); i >= 0 && (reach[i] ?? 0) > start; i -= 1)
      if ((to[i] ?? 0) + (size[i] ?? 0) > start) found.push(i);
    return found.length > 1 ? found.sort((a, b) => (from[a] ?? 0) - (from[b] ?? 0)) : found;
  }

  /** Whether records cover all of [start, start + size). */
  covers(start: number, size: number): boolean {
    const records = this.#records;
    let at = start;
    for (const i of this.#within(start, start + size).sort((a, b) => a - b)) {
      if ((records.to[i] ?? 0) > at) return false;
      at = Math.max(at, (records.to[i] ?? 0) + (records.size[i] ?? 0));
    }
    return at >= start + size;
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    const end = offset + length;
    const found = this.#within(offset, end);
    const [only] = found;
    const records = this.#records;
    if (only !== undefined && found.length === 1) {
      const start = records.to[only] ?? 0;
      if (start <= offset && start + (records.size[only] ?? 0) >= end)
        return this.#source.read((records.from[only] ?? 0) + offset - start, into.subarray(0, length));
    }
    into.fill(0, 0, length);
    let waiting: Promise<unknown> | undefined;
    for (const i of found) {
      const start = records.to[i] ?? 0;
      const first = Math.max(start, offset);
      const last = Math.min(start + (records.size[i] ?? 0), end);
      const part = into.subarray(first - offset, last - offset);
      const from = (records.from[i] ?? 0) + first - start;
      const source = this.#source;
      if (waiting !== undefined) waiting = waiting.then(() => source.read(from, part));
      else {
        const read = source.read(from, part);
        if (read instanceof Promise) waiting = read;
      }
    }
    return waiting === undefined ? length : waiting.then(() => length);
  }
}

function decodeHeader(
  bytes: Uint8Array,
  fail: (message: string, offset: number) => FormatError,
): { type: number; version: number } {
  const view = viewOf(bytes);
  const [type, version] = [view.getBigUint64(16, false), view.getBigUint64(24, false)];
  if (type > 255n || version > 255n) throw fail(`flattened form of type ${type}, version ${version}`, 16);
  return { type: Number(type), version: Number(version) };
}
