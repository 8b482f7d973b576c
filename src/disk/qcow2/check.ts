import type { Diagnostics } from "../../findings/diagnostics.js";
import { yieldToEventLoop } from "../../io/event-loop.js";
import type { ByteSource } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import type { Rule } from "../../findings/rule.js";
import { EXTENT } from "./extent.js";
import type { Qcow2Header } from "./header.js";
import { QCOW2_RULES } from "./rules.js";
import type { Snapshot } from "./snapshots.js";
import { type VirtualSource, stateSource } from "./state.js";

/** Runs looked at before the event loop turns. */
const STEPS_PER_TURN = 1024;

/** Clusters of a file, each taken once: one bit each, in parts that exist once a cluster of them is taken. */
class TakenClusters {
  readonly #parts = new Map<number, Uint8Array>();

  /** Takes a cluster. False: it was taken before. */
  take(cluster: number): boolean {
    const part = Math.floor(cluster / 2 ** 16);
    let bits = this.#parts.get(part);
    if (bits === undefined) {
      bits = new Uint8Array(2 ** 13);
      this.#parts.set(part, bits);
    }
    const at = (cluster % 2 ** 16) >> 3;
    const bit = 1 << (cluster & 7);
    const taken = bits[at] ?? 0;
    bits[at] = taken | bit;
    return (taken & bit) === 0;
  }
}

/**
 * Checks the tables that map a snapshot's VM state, and that its compressed clusters unpack; adds what is wrong to
 * `report`. Other contents aren't read.
 * @returns the bytes of the state that come before the first damage
 */
export async function checkState(
  image: ByteSource,
  header: Qcow2Header,
  snapshot: Snapshot,
  report: Diagnostics,
): Promise<number> {
  const name = snapshot.name === "" ? `snapshot ${snapshot.id}` : `snapshot '${snapshot.name}'`;
  let state: VirtualSource;
  try {
    state = stateSource(image, header, snapshot);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    addError(report, error, name);
    return 0;
  }
  return new StateCheck(image, header, state, report, name).run(snapshot);
}

function addError(diagnostics: Diagnostics, error: FormatError, name: string): void {
  diagnostics.report(error.rule, { offset: error.place.offset ?? 0 }, `${name}: ${error.message}`);
}

class StateCheck {
  readonly #image: ByteSource;
  readonly #clusterSize: number;
  readonly #state: VirtualSource;
  readonly #report: Diagnostics;
  readonly #name: string;
  readonly #taken = new TakenClusters();
  readonly #header: Qcow2Header;
  #intact: number;
  /** Cluster of the state that data were in last. */
  #lastCluster = -1;

  constructor(
    image: ByteSource,
    header: Qcow2Header,
    state: VirtualSource,
    report: Diagnostics,
    name: string,
  ) {
    this.#image = image;
    this.#header = header;
    this.#clusterSize = header.clusterSize;
    this.#state = state;
    this.#report = report;
    this.#name = name;
    this.#intact = state.size;
  }

  async run(snapshot: Snapshot): Promise<number> {
    this.#take(0, 1);
    if (snapshot.offset > 0) this.#take(this.#header.snapshotsOffset, 1);
    this.#take(snapshot.l1.offset, snapshot.l1.entries * 8);
    const state = this.#state;
    let tableSeen = -1;
    let steps = 0;
    for (let at = 0; at < state.size; ) {
      steps += 1;
      if (steps % STEPS_PER_TURN === 0) await yieldToEventLoop();
      try {
        const extent = await state.extentAt(at);
        const index = this.#indexOf(at);
        if (index !== tableSeen && !(await this.#checkTable(index, at))) {
          at = this.#endOfTable(at);
          continue;
        }
        tableSeen = index;
        await this.#checkExtent(extent, at);
        at += extent.length;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        this.#lose(at);
        addError(this.#report, error, this.#name);
        // nothing more of this table's range; beyond the L1 table nothing at all
        if (error.code === QCOW2_RULES.stateSize.code) break;
        at = this.#endOfTable(at);
      }
    }
    return this.#intact;
  }

  #indexOf(at: number): number {
    const { first } = this.#state.l1Range;
    return first + Math.floor(at / this.#state.coverage);
  }

  #endOfTable(at: number): number {
    const { coverage } = this.#state;
    return (Math.floor(at / coverage) + 1) * coverage;
  }

  #lose(at: number): void {
    this.#intact = Math.min(this.#intact, at);
  }

  /** False: the table was met before, and its range needs no second look. */
  async #checkTable(index: number, at: number): Promise<boolean> {
    const table = await this.#state.tables.l2(index);
    if (table === undefined || this.#take(table.offset, this.#clusterSize)) return true;
    this.#lose(at);
    this.#report.report(
      QCOW2_RULES.overlap,
      { offset: this.#state.tables.entryOffset(index) },
      `${this.#name}: L1 entry ${index}: the L2 table at 0x${table.offset.toString(16)} has the place of something else`,
    );
    return false;
  }

  async #checkExtent(extent: Awaited<ReturnType<VirtualSource["extentAt"]>>, at: number): Promise<void> {
    const { kind, host, length } = extent;
    const report = async (rule: Rule, message: string): Promise<void> => {
      const offset = await this.#state.entryOffset(at);
      this.#report.report(rule, { offset }, `${this.#name}, 0x${at.toString(16)} of its state: ${message}`);
    };
    switch (kind) {
      case EXTENT.zero:
        return;
      case EXTENT.unallocated:
        await report(QCOW2_RULES.hole, `0x${length.toString(16)} bytes were never written`);
        return;
      case EXTENT.bad:
        this.#lose(at);
        await report(QCOW2_RULES.cluster, extent.problem);
        return;
      case EXTENT.compressed:
        await this.#checkCompressed(at);
        return;
      case EXTENT.data: {
        const there = Math.max(0, this.#image.size - host);
        if (there < length) {
          this.#lose(at + there);
          await report(
            QCOW2_RULES.beyondFile,
            `its clusters at 0x${host.toString(16)} have 0x${length.toString(16)} bytes, 0x${there.toString(16)} of them within the file`,
          );
        }
        if (this.#takeData(at, host, Math.min(length, there))) return;
        this.#lose(at);
        await report(
          QCOW2_RULES.overlap,
          `a cluster at 0x${host.toString(16)} or after has the place of something else`,
        );
      }
    }
  }

  async #checkCompressed(at: number): Promise<void> {
    try {
      await this.#state.unpackedAt(at);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.#lose(at);
      addError(this.#report, error, `${this.#name}, 0x${at.toString(16)} of its state`);
    }
  }

  /** As `take`; parts of one cluster may come one after another. */
  #takeData(at: number, host: number, length: number): boolean {
    const size = this.#clusterSize;
    const isSame = Math.floor(at / size) === this.#lastCluster;
    this.#lastCluster = Math.floor((at + length - 1) / size);
    if (!isSame) return this.#take(host, length);
    const next = Math.ceil((host + 1) / size) * size;
    return next >= host + length || this.#take(next, host + length - next);
  }

  /** Takes all clusters of `length` bytes at `offset`; false when one was taken before. */
  #take(offset: number, length: number): boolean {
    let isNew = true;
    const end = Math.ceil((offset + length) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster += 1)
      if (!this.#taken.take(cluster)) isNew = false;
    return isNew;
  }
}
