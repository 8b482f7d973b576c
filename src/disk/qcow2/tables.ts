import { viewOf } from "../../binary/layout.js";
import { formatError } from "../../findings/diagnostics.js";
import { type ByteSource, type MaybePromise, readFully } from "../../io/byte-source.js";
import type { Qcow2Header } from "./header.js";
import { QCOW2_RULES } from "./rules.js";

/** By QEMU (block/qcow2.h): QCOW_MAX_L1_SIZE, in entries. */
const MOST_L1_ENTRIES = 2 ** 22;
const ENTRY = 8;
/** Entries of the L1 table read at a time, and such parts kept. */
const L1_PART = 1024;
const L1_PARTS_KEPT = 8;
/** Bytes of L2 tables kept; two tables at least. */
const L2_KEPT = 8 << 20;

/** The bits of an L1 entry that are an offset, above and below 2^32. */
const OFFSET_HIGH = 0x00ff_ffff;
const OFFSET_LOW = 0xffff_fe00;

/** An offset in the file from the two words of an entry. */
export function offsetOfWords(high: number, low: number): number {
  return (high & OFFSET_HIGH) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
}

/** An L2 table that is at hand, and where it is in the file; undefined: nothing of its range is allocated. */
export interface L2Table {
  readonly view: DataView;
  readonly offset: number;
}

/** The tables under one L1 table, read when they are asked for; few are kept. */
export class ClusterTables {
  readonly #source: ByteSource;
  readonly #clusterSize: number;
  readonly #l1: Qcow2Header["l1"];
  readonly #l1Parts = new Map<number, DataView>();
  readonly #l2 = new Map<number, L2Table>();
  readonly #mostL2: number;

  /** @throws FormatError `disk/qcow2/l1-table` */
  constructor(source: ByteSource, header: Qcow2Header, l1: Qcow2Header["l1"]) {
    this.#source = source;
    this.#clusterSize = header.clusterSize;
    this.#l1 = l1;
    this.#mostL2 = Math.max(2, Math.floor(L2_KEPT / header.clusterSize));
    const problem = l1Problem(l1, header.clusterSize, source.size);
    if (problem !== undefined)
      throw formatError(QCOW2_RULES.l1Table, source.name, { offset: l1.offset }, problem);
  }

  /** Entries of the L1 table. */
  get length(): number {
    return this.#l1.entries;
  }

  /** Offset in the file of an L1 entry. */
  entryOffset(index: number): number {
    return this.#l1.offset + index * ENTRY;
  }

  /**
   * The L2 table of an L1 entry.
   * @throws FormatError `disk/qcow2/state-size` beyond the L1 table, `disk/qcow2/l2-table`
   */
  l2(index: number): MaybePromise<L2Table | undefined> {
    const part = this.#l1Part(index);
    return part instanceof Promise
      ? part.then((view) => this.#tableOf(index, view))
      : this.#tableOf(index, part);
  }

  /** The two words of an L1 entry: above 2^32, below. */
  l1Words(index: number): MaybePromise<readonly [high: number, low: number]> {
    const words = (view: DataView): readonly [number, number] => {
      const at = (index % L1_PART) * ENTRY;
      return [view.getUint32(at, false), view.getUint32(at + 4, false)];
    };
    const part = this.#l1Part(index);
    return part instanceof Promise ? part.then(words) : words(part);
  }

  #l1Part(index: number): MaybePromise<DataView> {
    if (index >= this.#l1.entries)
      throw formatError(
        QCOW2_RULES.stateSize,
        this.#source.name,
        { offset: this.#l1.offset },
        `the L1 table has ${this.#l1.entries} entries: none for ${index}, which the VM state needs`,
      );
    const part = Math.floor(index / L1_PART);
    const known = this.#l1Parts.get(part);
    if (known !== undefined) return known;
    const first = part * L1_PART;
    const bytes = new Uint8Array(Math.min(L1_PART, this.#l1.entries - first) * ENTRY);
    const keep = (): DataView => keepIn(this.#l1Parts, part, viewOf(bytes), L1_PARTS_KEPT);
    return this.#read(this.entryOffset(first), bytes, keep, "l1Table");
  }

  #tableOf(index: number, part: DataView): MaybePromise<L2Table | undefined> {
    const at = (index % L1_PART) * ENTRY;
    const offset = offsetOfWords(part.getUint32(at, false), part.getUint32(at + 4, false));
    if (offset === 0) return undefined;
    const known = this.#l2.get(offset);
    if (known !== undefined) return known;
    const problem =
      offset % this.#clusterSize !== 0
        ? "which is no cluster's"
        : offset + this.#clusterSize > this.#source.size
          ? "beyond the end of the file"
          : undefined;
    if (problem !== undefined)
      throw formatError(
        QCOW2_RULES.l2Table,
        this.#source.name,
        { offset: this.entryOffset(index) },
        `L1 entry ${index}: its L2 table is at 0x${offset.toString(16)}, ${problem}`,
      );
    const bytes = new Uint8Array(this.#clusterSize);
    const keep = (): L2Table => keepIn(this.#l2, offset, { view: viewOf(bytes), offset }, this.#mostL2);
    return this.#read(offset, bytes, keep, "l2Table");
  }

  #read<T>(offset: number, bytes: Uint8Array, keep: () => T, rule: "l1Table" | "l2Table"): MaybePromise<T> {
    const check = (n: number): T => {
      if (n === bytes.length) return keep();
      throw formatError(QCOW2_RULES[rule], this.#source.name, { offset }, "the file ends within this table");
    };
    const n = this.#source.read(offset, bytes);
    if (!(n instanceof Promise)) return check(n);
    // a source may give less than was asked for, then the rest
    return n.then(async (got) =>
      check(
        got === bytes.length ? got : got + (await readFully(this.#source, offset + got, bytes.subarray(got))),
      ),
    );
  }
}

function l1Problem(
  { offset, entries }: Qcow2Header["l1"],
  clusterSize: number,
  size: number,
): string | undefined {
  if (entries > MOST_L1_ENTRIES)
    return `the L1 table has ${entries} entries: QEMU takes ${MOST_L1_ENTRIES} at most`;
  if (offset % clusterSize !== 0) return `the L1 table is at 0x${offset.toString(16)}, which is no cluster's`;
  if (offset + entries * ENTRY > size)
    return `the L1 table is at 0x${offset.toString(16)}, beyond the end of the file`;
  return undefined;
}

/** Keeps a value, and gives up the oldest one when there are more than `most`. */
export function keepIn<T>(cache: Map<number, T>, key: number, value: T, most: number): T {
  cache.set(key, value);
  if (cache.size > most) {
    const [oldest] = cache.keys();
    if (oldest !== undefined) cache.delete(oldest);
  }
  return value;
}
