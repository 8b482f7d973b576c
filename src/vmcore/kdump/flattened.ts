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
import type { SalvagedRecords } from "./flattened-salvage.js";
import { KDUMP_RULES } from "./rules.js";
import type { Span } from "../../guest/spans.js";

const GROWTH = 1024;
/** A read of more records than this is kept, if it is no longer than this in bytes. */
const MANY_PIECES = 16;
const KEPT = 1 << 20;

/** Whether a file begins as a flattened dump. */
export function isFlattened(head: Uint8Array): boolean {
  return latin1(head.subarray(0, 13)) === `${FLATTENED_SIGNATURE}\0`;
}

/** Runs of bytes by where they go: columns, since a large dump has hundreds of thousands. */
class Records {
  /** Offset in the plain file, ascending after `settle`. */
  to = new Float64Array(GROWTH);
  size = new Float64Array(GROWTH);
  /** Offset in the flattened file: its order is the order of writing. */
  from = new Float64Array(GROWTH);
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

  /** Sorts by place and parts what overlaps, so that records are disjoint: the last written holds. Returns how many overlapped. */
  settle(): number {
    const order = Uint32Array.from({ length: this.length }, (_, i) => i);
    const { to, from } = this;
    order.sort((a, b) => (to[a] ?? 0) - (to[b] ?? 0) || (from[a] ?? 0) - (from[b] ?? 0));
    const pick = (column: Float64Array): Float64Array<ArrayBuffer> =>
      Float64Array.from(order, (i) => column[i] ?? 0);
    [this.to, this.size, this.from] = [pick(to), pick(this.size), pick(from)];
    let overlaps = 0;
    let reach = 0;
    for (let i = 0; i < this.length; i += 1) {
      if ((this.to[i] ?? 0) < reach) overlaps += 1;
      reach = Math.max(reach, (this.to[i] ?? 0) + (this.size[i] ?? 0));
    }
    if (overlaps > 0) this.#part();
    return overlaps;
  }

  /** Goes along sorted records with those at hand in a heap, the last written on top. */
  #part(): void {
    const { to, size, from, length } = this;
    const [newTo, newSize, newFrom] = [new Column(), new Column(), new Column()];
    const heap = new NewestFirst(from);
    const endOf = (i: number): number => (to[i] ?? 0) + (size[i] ?? 0);
    let next = 0;
    let at = 0;
    for (;;) {
      for (let top = heap.top; top !== undefined && endOf(top) <= at; top = heap.top) heap.pop();
      if (heap.top === undefined) {
        if (next >= length) break;
        at = Math.max(at, to[next] ?? 0);
      }
      for (; next < length && (to[next] ?? 0) <= at; next += 1) if (endOf(next) > at) heap.push(next);
      const { top } = heap;
      if (top === undefined) continue;
      const stop = Math.min(endOf(top), next < length ? (to[next] ?? 0) : Number.POSITIVE_INFINITY);
      newTo.push(at);
      newSize.push(stop - at);
      newFrom.push((from[top] ?? 0) + at - (to[top] ?? 0));
      at = stop;
    }
    [this.to, this.size, this.from] = [newTo.values, newSize.values, newFrom.values];
    this.length = newTo.length;
  }
}

/** A column of numbers that grows. */
class Column {
  values = new Float64Array(GROWTH);
  length = 0;

  push(value: number): void {
    if (this.length === this.values.length) this.values = larger(this.values);
    this.values[this.length] = value;
    this.length += 1;
  }
}

/** A heap of records by when they were written. */
class NewestFirst {
  readonly #written: Float64Array;
  readonly #heap: number[] = [];

  constructor(written: Float64Array) {
    this.#written = written;
  }

  get top(): number | undefined {
    return this.#heap[0];
  }

  #isNewer(a: number, b: number): boolean {
    return (this.#written[this.#heap[a] ?? 0] ?? 0) > (this.#written[this.#heap[b] ?? 0] ?? 0);
  }

  #swap(a: number, b: number): void {
    const [one = 0, two = 0] = [this.#heap[a], this.#heap[b]];
    this.#heap[a] = two;
    this.#heap[b] = one;
  }

  push(record: number): void {
    this.#heap.push(record);
    for (let i = this.#heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!this.#isNewer(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      let newest = i;
      if (left < this.#heap.length && this.#isNewer(left, newest)) newest = left;
      if (right < this.#heap.length && this.#isNewer(right, newest)) newest = right;
      if (newest === i) return;
      this.#swap(i, newest);
      i = newest;
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
 * last written holds; what no record covers reads as zeros (`covers` says which).
 */
export class FlattenedSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  /** Whether the end marker was there. */
  readonly complete: boolean;
  /** Bytes after the end marker. */
  readonly trailing: number;
  /** Records whose bytes another one writes as well. */
  readonly overlaps: number;
  /** Whether some of its records were lost to damage. */
  readonly isSalvaged: boolean;
  readonly #source: ByteSource;
  readonly #records: Records;
  #gathered: { readonly offset: number; readonly bytes: Uint8Array } | undefined;

  private constructor(
    source: ByteSource,
    records: Records,
    { complete, end, isSalvaged }: { complete: boolean; end: number; isSalvaged: boolean },
  ) {
    this.isSalvaged = isSalvaged;
    this.overlaps = records.settle();
    this.name = source.name;
    this.#source = source;
    this.#records = records;
    const last = records.length - 1;
    this.size = (records.to[last] ?? 0) + (records.size[last] ?? 0);
    this.complete = complete;
    this.trailing = complete ? source.size - end : 0;
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
      if (size === 0n) throw fail("a record of no bytes", at);
      if (offset + size >= 2n ** 53n) throw fail(`a record at offset ${offset} of ${size} bytes`, at);
      const from = reader.position;
      const skipped = reader.skip(Number(size));
      const there = skipped instanceof Promise ? await skipped : skipped;
      if (there > 0) records.add(Number(offset), there, from);
      if (there < Number(size)) break;
    }
    return new FlattenedSource(source, records, { complete, end: reader.position, isSalvaged: false });
  }

  /** Makes the plain file of what is left of a damaged flattened one. */
  static from(source: ByteSource, { records, complete, end }: SalvagedRecords): FlattenedSource {
    const columns = new Records();
    for (const { to, size, from } of records) columns.add(to, size, from);
    return new FlattenedSource(source, columns, { complete, end, isSalvaged: true });
  }

  /** Where in the flattened file bytes [start, end) of the plain one are, record by record; not those that no record has. */
  *inputSpans(start: number, end: number): Iterable<Span> {
    const { first, stop } = this.#within(start, end);
    const { to, from, size } = this.#records;
    for (let i = first; i < stop; i += 1) {
      const [at, shift] = [to[i] ?? 0, (from[i] ?? 0) - (to[i] ?? 0)];
      const [here, last] = [Math.max(start, at), Math.min(end, at + (size[i] ?? 0))];
      if (here < last) yield { start: here + shift, end: last + shift };
    }
  }

  /** The parts of [start, end) of the plain file that no record has, ascending. */
  *gaps(start: number, end: number): Iterable<Span> {
    const { first, stop } = this.#within(start, end);
    const { to, size } = this.#records;
    let at = start;
    for (let i = first; i < stop; i += 1) {
      const here = Math.min(end, to[i] ?? 0);
      if (here > at) yield { start: at, end: here };
      at = Math.max(at, (to[i] ?? 0) + (size[i] ?? 0));
    }
    if (at < end) yield { start: at, end };
  }

  /** Index of the last record that starts before `end`; -1 when there is none. */
  #lastBefore(end: number): number {
    return firstAtLeast(this.#records.to, end, this.#records.length) - 1;
  }

  /** Records that have bytes within [start, end), ascending: first and one past the last. */
  #within(start: number, end: number): { readonly first: number; readonly stop: number } {
    const stop = this.#lastBefore(end) + 1;
    const first = Math.max(0, this.#lastBefore(start + 1));
    const { to, size } = this.#records;
    const isBefore = first < stop && (to[first] ?? 0) + (size[first] ?? 0) <= start;
    return { first: isBefore ? first + 1 : first, stop };
  }

  /** Whether records cover all of [start, start + size). */
  covers(start: number, size: number): boolean {
    const records = this.#records;
    const { first, stop } = this.#within(start, start + size);
    let at = start;
    for (let i = first; i < stop; i += 1) {
      if ((records.to[i] ?? 0) > at) return false;
      at = (records.to[i] ?? 0) + (records.size[i] ?? 0);
    }
    return at >= start + size;
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    const end = offset + length;
    const { first, stop } = this.#within(offset, end);
    const records = this.#records;
    if (stop === first + 1) {
      const start = records.to[first] ?? 0;
      if (start <= offset && start + (records.size[first] ?? 0) >= end)
        return this.#source.read((records.from[first] ?? 0) + offset - start, into.subarray(0, length));
    }
    const kept = this.#gathered;
    if (kept?.offset === offset && kept.bytes.length === length) {
      into.set(kept.bytes);
      return length;
    }
    into.fill(0, 0, length);
    const gathered = this.#gather(offset, into.subarray(0, length), first, stop);
    const finish = (): number => {
      // pieces as small as bytes are not gathered again for each that asks for the same
      if (stop - first > MANY_PIECES && length <= KEPT)
        this.#gathered = { offset, bytes: into.slice(0, length) };
      return length;
    };
    return gathered instanceof Promise ? gathered.then(finish) : finish();
  }

  /** Reads records [first, stop) to their places: in step with the source, asynchronous only where it is. */
  #gather(offset: number, into: Uint8Array, first: number, stop: number): MaybePromise<void> {
    const records = this.#records;
    for (let i = first; i < stop; i += 1) {
      const start = records.to[i] ?? 0;
      const from = Math.max(start, offset);
      const to = Math.min(start + (records.size[i] ?? 0), offset + into.length);
      const part = into.subarray(from - offset, to - offset);
      const read = this.#source.read((records.from[i] ?? 0) + from - start, part);
      if (read instanceof Promise) {
        const next = i + 1;
        return read.then(() => this.#gather(offset, into, next, stop));
      }
    }
    return undefined;
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
