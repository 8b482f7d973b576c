import type { FormatError } from "../../io/errors.js";
import { UsageError } from "../../io/errors.js";
import type { HeaderChunk, LegacyChunk, PagesChunk, TscInfoChunk, XlHeaderChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import type { StreamEmitter, Target } from "./emit.js";
import { checkIoreqServer, checkTmem, reportTmem, setParameter } from "./checks.js";
import { countEntries, noEntries } from "./entry-counts.js";
import type { Problems } from "./problems.js";
import { hasData, PAGE, TAIL_PARAMETER, TYPE } from "./layout.js";
import { RULES } from "./rules.js";
import type { OpenSpool } from "../../io/spool.js";
import { TailStore } from "./blob-store.js";
import type { TmemPool } from "./tmem.js";
import type { PhysmapEntry } from "./toolstack.js";

export interface AsItComesOptions {
  readonly allowLoss: boolean;
  readonly keepQemuRecord: boolean;
  readonly openSpool: OpenSpool;
}

/**
 * Converts a plain HVM stream while it arrives: one checkpoint, each pfn sent once.
 * Such a stream is told from a live one (which may be checkpointed) by its TSC info: it stands before the pages.
 */
export class AsItComes {
  readonly entries = noEntries();
  readonly parameters = new Map<number, bigint>();
  readonly #cursor: Cursor;
  readonly #problems: Problems;
  readonly #emitter: StreamEmitter;
  readonly #target: Target;
  readonly #options: AsItComesOptions;
  #xlHeader: XlHeaderChunk | undefined;
  header: HeaderChunk | undefined;
  tsc: TscInfoChunk | undefined;
  physmap: readonly PhysmapEntry[] = [];
  tmem: readonly TmemPool[] = [];
  vcpuIds: readonly number[] = [];
  contextLength = 0;
  emulator: { readonly signature: string; readonly length: number } | undefined;
  checkpoints = 0;
  marked = false;
  verifyPass = false;
  end = 0;

  constructor(
    cursor: Cursor,
    problems: Problems,
    emitter: StreamEmitter,
    target: Target,
    options: AsItComesOptions,
  ) {
    this.#cursor = cursor;
    this.#problems = problems;
    this.#emitter = emitter;
    this.#target = target;
    this.#options = options;
  }

  async take(chunk: LegacyChunk): Promise<void> {
    if (this.checkpoints > 0 && chunk.kind !== "checkpoint") {
      // nothing more can be taken back or put in order: half of a later state would be wrong
      throw new UsageError(
        "the stream began like a plain one but goes on behind its first checkpoint: convert it from a file",
        { source: this.#cursor.reader.name, offset: chunk.offset },
      );
    }
    const emitter = this.#emitter;
    switch (chunk.kind) {
      case "xl-header":
        this.#xlHeader = chunk;
        return;
      case "header":
        this.header = chunk;
        return;
      case "pages":
        if (this.entries.batches === 0) await this.#start();
        countEntries(this.entries, chunk);
        if (!chunk.verify) await this.#pages(chunk);
        return;
      case "parameter":
        setParameter(this.parameters, chunk.parameter, chunk.value);
        return;
      case "tsc-info":
        this.tsc = chunk;
        return;
      case "toolstack":
        this.physmap = chunk.physmap;
        return;
      case "tmem":
        this.tmem = chunk.pools;
        checkTmem(this.#cursor.reader.name, chunk, this.#options.allowLoss);
        return;
      case "verify-mode":
        this.verifyPass = true;
        this.#cursor.problem(RULES.verifyNotCompared, chunk.offset, "pages of the verify pass are dropped");
        return;
      case "last-checkpoint":
        this.marked = true;
        return;
      case "end-of-body":
        this.vcpuIds = chunk.vcpus;
        if (this.entries.batches === 0) await this.#start();
        await emitter.tsc(this.tsc);
        return;
      case "hvm-tail":
        setParameter(this.parameters, TAIL_PARAMETER.ioreqPfn, chunk.ioreqPfn);
        setParameter(this.parameters, TAIL_PARAMETER.bufferedIoreqPfn, chunk.bufferedIoreqPfn);
        setParameter(this.parameters, TAIL_PARAMETER.storePfn, chunk.storePfn);
        checkIoreqServer(this.#cursor, this.parameters, chunk.offset);
        await emitter.parameters(this.parameters);
        this.contextLength = chunk.dataLength;
        await emitter.hvmContext({ cursor: this.#cursor, length: chunk.dataLength });
        return;
      case "qemu":
        await this.#qemu(chunk.signature, chunk.dataLength);
        return;
      case "checkpoint":
        this.checkpoints += 1;
        this.end = chunk.offset;
        this.#problems.commit();
        return;
      default:
        return;
    }
  }

  async #start(): Promise<void> {
    if (this.header !== undefined) await this.#emitter.start(this.header, undefined, this.#xlHeader);
  }

  async #pages(chunk: PagesChunk): Promise<void> {
    const { entries } = chunk;
    const emitter = this.#emitter;
    const { writer } = emitter;
    for (let i = 0; i < entries.length; ) {
      let pages = 0;
      for (; i < entries.length && writer.room > 0; i += 1) {
        const entry = entries[i] ?? 0;
        const type = entry >>> 28;
        if (type === TYPE.invalid) continue;
        emitter.entry(type, entry & 0x0fffffff);
        if (hasData(type)) pages += 1;
      }
      if (pages > 0) {
        const room = writer.contents(pages);
        await this.#cursor.fill(room.subarray(0, pages * PAGE), "page data");
      }
      await writer.endIfFull();
    }
  }

  async #qemu(signature: string, length: number | undefined): Promise<void> {
    const emitter = this.#emitter;
    const cursor = this.#cursor;
    const keeps = this.#target.format !== "libxc" || this.#options.keepQemuRecord;
    await this.#endOfLibxc();
    // without a length the data run to the end of the input: they are kept to learn it
    const tails = new TailStore(undefined, this.#options.openSpool);
    try {
      const from =
        length === undefined ? await tails.keep(cursor, undefined, "QEMU record") : { cursor, length };
      this.emulator = { signature, length: from.length };
      if (!keeps) return;
      if (this.#target.format === "libxc") await emitter.legacyQemuRecord(signature, from);
      else await emitter.emulator(from);
    } finally {
      tails.close();
    }
  }

  #libxcEnded = false;

  async #endOfLibxc(): Promise<void> {
    if (this.#libxcEnded) return;
    this.#libxcEnded = true;
    await this.#emitter.endOfLibxc();
    if (this.#target.format !== "libxc") await this.#emitter.physmap(this.physmap);
  }

  /** What follows the checkpoint can't be read. */
  drop(reason: FormatError): void {
    this.#problems.drop();
    this.#problems.add(
      RULES.incompleteCheckpoint,
      { offset: this.end },
      `what follows checkpoint ${this.checkpoints} is dropped: ${reason.message}`,
    );
    this.#problems.commit();
  }

  async finish(): Promise<void> {
    reportTmem(this.#cursor, this.tmem);
    this.#problems.commit();
    await this.#endOfLibxc();
    if (this.#target.format !== "libxc") await this.#emitter.endOfLibxl();
  }
}
