import type { Qcow2Header } from "./header.js";
import { offsetOfWords } from "./tables.js";

/** What a run of the virtual disk is. */
export const EXTENT = { unallocated: 0, zero: 1, data: 2, compressed: 3, bad: 4 } as const;
export type ExtentKind = (typeof EXTENT)[keyof typeof EXTENT];

/** A run of one kind: filled in again and again, so that no cluster takes an object of its own. */
export interface Extent {
  kind: ExtentKind;
  /** data: offset in the file of its first byte; bad: what the entry says. */
  host: number;
  /** Bytes of the run, one at least. */
  length: number;
  /** bad: why. */
  problem: string;
}

export const emptyExtent = (): Extent => ({ kind: EXTENT.unallocated, host: 0, length: 0, problem: "" });

/** Parts of a cluster with extended L2 entries. */
const PARTS = 32;
const COMPRESSED = 0x4000_0000;

/** Reads the entries of L2 tables of one image. */
export class ExtentScanner {
  readonly #clusterSize: number;
  readonly #partSize: number;
  readonly #extended: boolean;
  readonly #entrySize: number;
  readonly #hasZeros: boolean;
  /** Entries of a table. */
  readonly length: number;
  readonly #next = emptyExtent();

  constructor({ clusterSize, extendedL2, version }: Qcow2Header) {
    this.#clusterSize = clusterSize;
    this.#extended = extendedL2;
    this.#partSize = extendedL2 ? clusterSize / PARTS : clusterSize;
    this.#entrySize = extendedL2 ? 16 : 8;
    this.#hasZeros = version >= 3;
    this.length = clusterSize / this.#entrySize;
  }

  /**
   * Makes `extent` the run from virtual offset `from` on, `most` bytes at most and within this table's range. Data are
   * one run as long as they are in one piece in the file; a compressed cluster is a run of its own.
   */
  scan(table: DataView, from: number, most: number, extent: Extent): void {
    const within = from % this.#partSize;
    this.#read(table, from, extent);
    extent.length = this.#partSize - within;
    const { kind } = extent;
    if (kind === EXTENT.bad) extent.length = Math.min(extent.length, most);
    const next = this.#next;
    const left = this.length * this.#clusterSize - (from % (this.length * this.#clusterSize));
    const end = Math.min(most, left);
    while (extent.length < end && kind !== EXTENT.bad) {
      this.#read(table, from + extent.length, next);
      if (next.kind !== kind) break;
      if (kind === EXTENT.data && next.host !== extent.host + extent.length) break;
      // one cluster: its parts have the same descriptor
      if (kind === EXTENT.compressed && (from + extent.length) % this.#clusterSize === 0) break;
      extent.length += this.#partSize;
    }
    extent.length = Math.min(extent.length, end);
  }

  /** Index in its table of the entry of a virtual offset. */
  indexOf(offset: number): number {
    return Math.floor(offset / this.#clusterSize) % this.length;
  }

  /** Offset in its table of the entry of a virtual offset. */
  entryOffset(offset: number): number {
    return this.indexOf(offset) * this.#entrySize;
  }

  #read(table: DataView, offset: number, extent: Extent): void {
    const at = this.entryOffset(offset);
    const high = table.getUint32(at, false);
    const low = table.getUint32(at + 4, false);
    if ((high & COMPRESSED) !== 0) {
      extent.kind = EXTENT.compressed;
      return;
    }
    const cluster = offsetOfWords(high, low);
    const within = offset % this.#clusterSize;
    extent.host = cluster + within;
    if (cluster % this.#clusterSize !== 0) {
      extent.kind = EXTENT.bad;
      extent.problem = `its cluster is at 0x${cluster.toString(16)}, no multiple of the cluster size`;
    } else if (this.#extended) this.#readPart(table, at, cluster, within, extent);
    else if ((low & 1) === 0) extent.kind = cluster === 0 ? EXTENT.unallocated : EXTENT.data;
    else if (this.#hasZeros) extent.kind = EXTENT.zero;
    else {
      extent.kind = EXTENT.bad;
      extent.problem = "it is a zero cluster, which version 2 has not";
    }
  }

  #readPart(table: DataView, at: number, cluster: number, within: number, extent: Extent): void {
    const zeros = table.getUint32(at + 8, false);
    const allocated = table.getUint32(at + 12, false);
    const bit = 1 << Math.floor(within / this.#partSize);
    const isAllocated = (allocated & bit) !== 0;
    if ((zeros & allocated) !== 0) {
      extent.kind = EXTENT.bad;
      extent.problem = "a part of its cluster is zero and allocated at once";
    } else if (isAllocated && cluster === 0) {
      extent.kind = EXTENT.bad;
      extent.problem = "a part of its cluster is allocated, but there is no cluster";
    } else if (isAllocated) extent.kind = EXTENT.data;
    else extent.kind = (zeros & bit) === 0 ? EXTENT.unallocated : EXTENT.zero;
  }
}
