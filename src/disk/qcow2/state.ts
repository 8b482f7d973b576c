import { formatError } from "../../findings/diagnostics.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import { CompressedClusters } from "./compressed.js";
import { emptyExtent, EXTENT, type Extent, ExtentScanner } from "./extent.js";
import { l2Coverage, type Qcow2Header } from "./header.js";
import { QCOW2_RULES } from "./rules.js";
import { needReadable, type Snapshot } from "./snapshots.js";
import { ClusterTables, type L2Table } from "./tables.js";

/** A range of a virtual disk, or of what an image keeps beyond it. */
export interface VirtualRange {
  /** Its L1 table. */
  readonly l1: Qcow2Header["l1"];
  /** Virtual offset of its first byte, and bytes. */
  readonly start: number;
  readonly size: number;
}

/** A snapshot's VM state as a source, over the image. */
export function stateSource(image: ByteSource, header: Qcow2Header, snapshot: Snapshot): VirtualSource {
  needReadable(header, image.name);
  const { l1, stateOffset: start, stateSize: size, name, id } = snapshot;
  const title = `${image.name}, snapshot ${name === "" ? id : `'${name}'`}`;
  return new VirtualSource(image, header, { l1, start, size }, title);
}

/**
 * Bytes that an L1 table and its L2 tables map, by QEMU's rules: what was never written is zeros, a backing file
 * is not looked at. Tables are read when they are needed; runs of clusters that follow one another in the image are
 * read at once. Reading throws a FormatError of the rule that a table or a cluster breaks.
 */
export class VirtualSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #image: ByteSource;
  readonly #start: number;
  /** Bytes that one L2 table maps. */
  readonly coverage: number;
  readonly #clusterSize: number;
  readonly #tables: ClusterTables;
  readonly #scanner: ExtentScanner;
  readonly #compressed: CompressedClusters;
  /** Used up before anything is waited for. */
  readonly #extent = emptyExtent();

  /** @throws FormatError `disk/qcow2/l1-table` */
  constructor(image: ByteSource, header: Qcow2Header, range: VirtualRange, name: string) {
    this.name = name;
    this.size = range.size;
    this.#image = image;
    this.#start = range.start;
    this.coverage = l2Coverage(header);
    this.#clusterSize = header.clusterSize;
    this.#tables = new ClusterTables(image, header, range.l1);
    this.#scanner = new ExtentScanner(header);
    this.#compressed = new CompressedClusters(image, header);
  }

  get tables(): ClusterTables {
    return this.#tables;
  }

  /** L1 entries that the range needs: half-open. */
  get l1Range(): { readonly first: number; readonly end: number } {
    return {
      first: Math.floor(this.#start / this.coverage),
      end: Math.ceil((this.#start + this.size) / this.coverage),
    };
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    return this.#readOn(offset, length === into.length ? into : into.subarray(0, length), 0);
  }

  /** Offset in the image of a byte of the range; undefined: it is in no cluster, or in a compressed one. */
  async imageOffset(offset: number): Promise<number | undefined> {
    const extent = await this.extentAt(offset, 1);
    return extent.kind === EXTENT.data ? extent.host : undefined;
  }

  /** The run that begins at `offset`, up to the end of its L2 table's range. @throws FormatError for a bad table */
  async extentAt(offset: number, most = this.size - offset): Promise<Readonly<Extent>> {
    const from = this.#start + offset;
    const table = await this.#tables.l2(Math.floor(from / this.coverage));
    const extent = emptyExtent();
    this.#scan(table, from, most, extent);
    return extent;
  }

  /** Offset in the image of the L2 entry of a byte of the range. */
  async entryOffset(offset: number): Promise<number> {
    const from = this.#start + offset;
    const index = Math.floor(from / this.coverage);
    const table = await this.#tables.l2(index);
    return table === undefined
      ? this.#tables.entryOffset(index)
      : table.offset + this.#scanner.entryOffset(from);
  }

  /** The contents of the compressed cluster at `offset`, or an error of it. */
  async unpackedAt(offset: number): Promise<Uint8Array> {
    const from = this.#start + offset;
    const table = await this.#tables.l2(Math.floor(from / this.coverage));
    return table === undefined ? new Uint8Array(this.#clusterSize) : this.#unpack(table, from);
  }

  /** Goes on after `done` bytes: in step with the image, asynchronous only where that is. */
  #readOn(offset: number, into: Uint8Array, done: number): MaybePromise<number> {
    let at = done;
    while (at < into.length) {
      const table = this.#tables.l2(Math.floor((this.#start + offset + at) / this.coverage));
      const reached = at;
      const next = (n: number): MaybePromise<number> => this.#readOn(offset, into, reached + n);
      if (table instanceof Promise)
        return table
          .then((loaded) => this.#readRun(loaded, offset + reached, into.subarray(reached)))
          .then(next);
      const n = this.#readRun(table, offset + at, at === 0 ? into : into.subarray(at));
      if (n instanceof Promise) return n.then(next);
      at += n;
    }
    return at;
  }

  #scan(table: L2Table | undefined, from: number, most: number, extent: Extent): void {
    if (table !== undefined) {
      this.#scanner.scan(table.view, from, most, extent);
      return;
    }
    extent.kind = EXTENT.unallocated;
    extent.length = Math.min(most, this.coverage - (from % this.coverage));
  }

  /** Fills the start of `into`, one byte at least. */
  #readRun(table: L2Table | undefined, offset: number, into: Uint8Array): MaybePromise<number> {
    const from = this.#start + offset;
    const extent = this.#extent;
    this.#scan(table, from, into.length, extent);
    const { kind, host, length } = extent;
    const part = length === into.length ? into : into.subarray(0, length);
    if (kind === EXTENT.data) return this.#readData(table, from, host, part);
    if (table !== undefined && kind === EXTENT.compressed) {
      const within = from % this.#clusterSize;
      return this.#unpack(table, from).then((cluster) => {
        part.set(cluster.subarray(within, within + part.length));
        return part.length;
      });
    }
    if (kind === EXTENT.bad) throw this.#badEntry("cluster", table, from, extent.problem);
    part.fill(0);
    return part.length;
  }

  #readData(table: L2Table | undefined, from: number, host: number, part: Uint8Array): MaybePromise<number> {
    const there = this.#image.size - host;
    const check = (n: number): number => {
      if (n > 0) return n;
      throw this.#badEntry(
        "beyondFile",
        table,
        from,
        `its cluster at 0x${host.toString(16)} is beyond the file`,
      );
    };
    if (there <= 0) return check(0);
    const n = this.#image.read(host, there < part.length ? part.subarray(0, there) : part);
    return n instanceof Promise ? n.then(check) : check(n);
  }

  #unpack(table: L2Table, from: number): Promise<Uint8Array> {
    const at = this.#scanner.entryOffset(from);
    return this.#compressed.cluster(table.view.getBigUint64(at, false), table.offset + at);
  }

  #badEntry(
    rule: "cluster" | "beyondFile",
    table: L2Table | undefined,
    from: number,
    problem: string,
  ): Error {
    const offset = (table?.offset ?? 0) + this.#scanner.entryOffset(from);
    const where = `L2 entry ${this.#scanner.indexOf(from)} of the table at 0x${(table?.offset ?? 0).toString(16)}`;
    return formatError(QCOW2_RULES[rule], this.#image.name, { offset }, `${where}: ${problem}`);
  }
}
