import type { Report } from "../../findings/report.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import type {
  HeaderChunk,
  LegacyChunk,
  PagesChunk,
  PvInfoChunk,
  TscInfoChunk,
  XlHeaderChunk,
} from "./chunks.js";
import {
  checkFrames,
  checkIoreqServer,
  checkTmem,
  reportTmem,
  reportTrailing,
  setParameter,
} from "./checks.js";
import { countEntries, type EntryCounts, noEntries } from "./entry-counts.js";
import { CompressedPages, firstDifference } from "./compression.js";
import type { Cursor } from "./cursor.js";
import type { Claims } from "./header.js";
import { hasData, PAGE, TAIL_PARAMETER, XSAVE_PREFIX } from "./layout.js";
import { PageStore, type PageRun } from "./page-store.js";
import type { PfnSet } from "./pfn-set.js";
import { LegacyReader } from "./read.js";
import { Problems } from "./problems.js";
import { RULES } from "./rules.js";
import { MemorySpool, type OpenSpool } from "../../io/spool.js";
import { type Stretch, TailStore } from "./blob-store.js";
import type { QemuRecord } from "./tail.js";
import type { TmemPool } from "./tmem.js";
import type { PhysmapEntry } from "./toolstack.js";

export interface ReadLegacyOptions extends Claims {
  readonly qemu?: QemuRecord;
  /** Where contents go that can't be read from the input again; default: memory. */
  readonly openSpool?: OpenSpool;
  /** The bytes of a stream input, readable at any offset beside it: nothing is spooled then. */
  readonly reread?: ByteSource;
  /** Convert although guest data are lost (pages of persistent tmem pools). */
  readonly allowLoss?: boolean;
  /**
   * Told why the stream has no complete checkpoint: the state is then what came until there. Without it that is an error.
   */
  readonly onIncomplete?: (error: FormatError) => void;
  /** Told of each chunk as it comes. */
  readonly onChunk?: (chunk: LegacyChunk) => void;
  /** Bytes read so far. */
  readonly progress?: (done: number, total: number | undefined) => void;
}

/** What keeping a state takes of the options. */
export type StateOptions = Pick<ReadLegacyOptions, "openSpool" | "allowLoss">;

export interface VcpuState {
  readonly id: number;
  readonly context: Stretch;
  readonly extended: Stretch | undefined;
  readonly xsave: Stretch | undefined;
}

export interface EmulatorState extends Stretch {
  /** Signature of the QEMU record. */
  readonly signature: string;
}

/** Everything but pages that a checkpoint brings. */
export interface CheckpointState {
  tsc: TscInfoChunk | undefined;
  /** HVM parameters by index, those of value 0 left out. */
  parameters: Map<number, bigint>;
  physmap: readonly PhysmapEntry[];
  /** Whether the stream holds a toolstack chunk: libxl wrote it. */
  toolstack: boolean;
  /** ids of the vCPUs that are online. */
  vcpuIds: readonly number[];
  /** The stream has no vCPU map: vCPU 0 is taken and must be marked online. */
  vcpuAssumed: boolean;
  vcpus: VcpuState[];
  sharedInfo: Uint8Array | undefined;
  unmapped: PfnSet | undefined;
  hvmContext: Stretch | undefined;
  emulator: EmulatorState | undefined;
}

/** A stream as it stands after its last complete checkpoint. */
export interface LegacyState extends CheckpointState {
  readonly source: string;
  readonly xlHeader: XlHeaderChunk | undefined;
  readonly header: HeaderChunk;
  readonly pv: PvInfoChunk | undefined;
  readonly pages: PageStore;
  readonly checkpoints: { readonly complete: number; readonly begun: number; readonly marked: boolean };
  readonly compression: boolean;
  readonly verifyPass: boolean;
  readonly tmem: readonly TmemPool[];
  readonly entries: EntryCounts;
  /** It broke off before any checkpoint was complete: pages and processors may be missing. */
  readonly incomplete: boolean;
  /** Bytes of the input that belong to the stream. */
  readonly end: number;
  /** Final pages, ascending, without those that the guest had given back. */
  runs(limit?: number): Generator<PageRun, void, void>;
  /** Gives spools back. */
  close(): void;
}

/** Where the bytes of an input can be read again. */
export function rereadable(
  input: ByteSource | ByteStream,
  reread: ByteSource | undefined,
): ByteSource | undefined {
  return reread ?? (isByteSource(input) ? input : undefined);
}

/** Takes the chunks of a stream and keeps the state they lead to. */
export class StateBuilder {
  readonly #cursor: Cursor;
  readonly #problems: Problems;
  readonly #options: StateOptions;
  readonly #pages: PageStore;
  readonly #tails: TailStore;
  readonly #coded = new CompressedPages();
  readonly #entries = noEntries();
  #current: CheckpointState = emptyCheckpoint();
  #complete: CheckpointState | undefined;
  #checkpoints = 0;
  #begun = false;
  #salvaged = false;
  #marked = false;
  #compression = false;
  #verifyPass = false;
  #tmem: readonly TmemPool[] = [];
  #xlHeader: XlHeaderChunk | undefined;
  #header: HeaderChunk | undefined;
  #pv: PvInfoChunk | undefined;
  #end = 0;
  #compare: Uint8Array | undefined;

  constructor(cursor: Cursor, problems: Problems, input: ByteSource | undefined, options: StateOptions) {
    this.#cursor = cursor;
    this.#problems = problems;
    this.#options = options;
    const openSpool = options.openSpool ?? (() => new MemorySpool());
    this.#pages = new PageStore(input, openSpool);
    this.#tails = new TailStore(input, openSpool);
  }

  get checkpoints(): number {
    return this.#checkpoints;
  }

  async take(chunk: LegacyChunk): Promise<void> {
    const state = this.#current;
    switch (chunk.kind) {
      case "xl-header":
        this.#xlHeader = chunk;
        return;
      case "header":
        this.#header = chunk;
        return;
      case "pv-info":
        this.#pv = chunk;
        return;
      case "checkpoint":
        await this.#commit(chunk.offset);
        return;
      default:
        this.#begun = true;
    }
    switch (chunk.kind) {
      case "pages":
        countEntries(this.#entries, chunk);
        await (chunk.verify ? this.#comparePages(chunk) : this.#takePages(chunk));
        return;
      case "compressed-data":
        await this.#coded.read(this.#cursor, chunk.dataLength, this.#pages);
        return;
      case "end-of-body":
        this.#coded.finish(this.#cursor);
        state.vcpuIds = chunk.vcpus;
        state.vcpuAssumed = chunk.assumed;
        return;
      case "parameter":
        setParameter(state.parameters, chunk.parameter, chunk.value);
        return;
      case "tsc-info":
        state.tsc = chunk;
        return;
      case "toolstack":
        state.physmap = chunk.physmap;
        state.toolstack = true;
        return;
      case "tmem":
        this.#tmem = chunk.pools;
        checkTmem(this.#cursor.reader.name, chunk, this.#options.allowLoss === true);
        return;
      case "verify-mode":
        this.#verifyPass = true;
        return;
      case "last-checkpoint":
        this.#marked = true;
        return;
      case "enable-compression":
        this.#compression = true;
        return;
      case "hvm-tail":
        setParameter(state.parameters, TAIL_PARAMETER.ioreqPfn, chunk.ioreqPfn);
        setParameter(state.parameters, TAIL_PARAMETER.bufferedIoreqPfn, chunk.bufferedIoreqPfn);
        setParameter(state.parameters, TAIL_PARAMETER.storePfn, chunk.storePfn);
        state.hvmContext = await this.#tails.keep(this.#cursor, chunk.dataLength, "HVM context");
        return;
      case "qemu":
        state.emulator = {
          ...(await this.#tails.keep(this.#cursor, chunk.dataLength, "QEMU record")),
          signature: chunk.signature,
        };
        return;
      case "unmapped":
        state.unmapped = chunk.pfns;
        return;
      case "vcpu": {
        const { id, context, extended, xsave } = chunk;
        const keep = (from: number, bytes: Uint8Array): Promise<Stretch> =>
          this.#tails.keepBytes(chunk.offset + from, bytes);
        const extendedAt = context.length;
        const xsaveAt = extendedAt + (extended?.length ?? 0) + XSAVE_PREFIX.size;
        state.vcpus.push({
          id,
          context: await keep(0, context),
          extended: extended === undefined ? undefined : await keep(extendedAt, extended),
          xsave: xsave === undefined ? undefined : await keep(xsaveAt, xsave),
        });
        return;
      }
      case "shared-info":
        state.sharedInfo = chunk.bytes;
        return;
      default:
        return;
    }
  }

  async #takePages(chunk: PagesChunk): Promise<void> {
    if (chunk.compressed) {
      for (const entry of chunk.entries) if (hasData(entry >>> 28)) this.#coded.announce(entry);
    }
    await this.#pages.takeBatch(this.#cursor, chunk);
  }

  /** Pages of the verify pass must be those already there. */
  async #comparePages(chunk: PagesChunk): Promise<void> {
    this.#compare ??= new Uint8Array(2 * PAGE);
    const sent = this.#compare.subarray(0, PAGE);
    const kept = this.#compare.subarray(PAGE);
    for (const entry of chunk.entries) {
      if (!hasData(entry >>> 28)) continue;
      const pfn = entry & 0x0fffffff;
      const offset = this.#cursor.position;
      await this.#cursor.fill(sent, "page data");
      if (!this.#pages.index.isStored(pfn)) {
        this.#cursor.problem(
          RULES.verifyDiffers,
          offset,
          `pfn 0x${pfn.toString(16)} comes in the verify pass only`,
        );
        continue;
      }
      await this.#pages.readPage(pfn, kept);
      const at = firstDifference(sent, kept);
      if (at >= 0) {
        const place = `byte 0x${at.toString(16)} of pfn 0x${pfn.toString(16)}`;
        this.#cursor.problem(RULES.verifyDiffers, offset, `the verify pass differs from ${place} on`);
      }
    }
  }

  async #commit(end: number): Promise<void> {
    this.#problems.commit();
    this.#pages.commit();
    await this.#tails.commit();
    this.#complete = this.#current;
    this.#current = {
      ...this.#complete,
      parameters: new Map(this.#complete.parameters),
      vcpus: [],
    };
    this.#checkpoints += 1;
    this.#begun = false;
    this.#end = end;
  }

  /** What came since the last checkpoint is dropped for `reason`. */
  drop(reason: FormatError): void {
    this.#problems.drop();
    this.#pages.rollback();
    const dropped = this.#cursor.position - this.#end;
    const place = { offset: this.#end, record: this.#cursor.chunk };
    const where = reason.place.offset === undefined ? "" : ` at offset 0x${reason.place.offset.toString(16)}`;
    this.#problems.add(
      RULES.incompleteCheckpoint,
      place,
      `what follows checkpoint ${this.#checkpoints} is dropped, ${dropped} bytes or more: ${reason.message}${where}`,
    );
    this.#problems.commit();
  }

  /** Takes what there is as if it were complete; false before anything of the guest is known. */
  salvage(): boolean {
    if (this.#header === undefined || (this.#header.guest === "pv" && this.#pv === undefined)) return false;
    this.#problems.commit();
    this.#pages.commit();
    this.#complete = this.#current;
    this.#end = this.#cursor.position;
    this.#salvaged = true;
    return true;
  }

  /** The state after the last complete checkpoint; checks what only shows at the end. */
  async finish(): Promise<LegacyState> {
    const [header, complete] = [this.#header, this.#complete];
    if (header === undefined || complete === undefined) {
      return this.#cursor.fail(
        RULES.truncated,
        this.#cursor.position,
        "the stream holds no complete checkpoint",
      );
    }
    const pages = this.#pages;
    await pages.finish();
    if (!this.#salvaged) {
      if (this.#pv !== undefined) checkFrames(this.#cursor, this.#pv, pages.index, complete.unmapped);
      checkIoreqServer(this.#cursor, complete.parameters, this.#end);
    }
    for (const [pfn, offset] of pages.damaged) {
      if (complete.unmapped?.has(pfn) === true) continue;
      this.#problems.add(
        RULES.senderDefect,
        { offset },
        `pfn 0x${pfn.toString(16)} is coded as a difference although the sender had no base for it: its contents are wrong`,
      );
    }
    reportTmem(this.#cursor, this.#tmem);
    this.#problems.commit();
    const tails = this.#tails;
    return {
      ...complete,
      source: this.#cursor.reader.name,
      xlHeader: this.#xlHeader,
      header,
      pv: this.#pv,
      pages,
      checkpoints: {
        complete: this.#checkpoints,
        begun: this.#checkpoints + (this.#begun ? 1 : 0),
        marked: this.#marked,
      },
      compression: this.#compression,
      verifyPass: this.#verifyPass,
      tmem: this.#tmem,
      entries: this.#entries,
      incomplete: this.#salvaged,
      end: this.#end,
      runs: (limit) => pages.runs(complete.unmapped, limit),
      close() {
        pages.close();
        tails.close();
      },
    };
  }

  close(): void {
    this.#pages.close();
    this.#tails.close();
  }
}

function emptyCheckpoint(): CheckpointState {
  return {
    tsc: undefined,
    parameters: new Map(),
    physmap: [],
    toolstack: false,
    vcpuIds: [],
    vcpuAssumed: false,
    vcpus: [],
    sharedInfo: undefined,
    unmapped: undefined,
    hvmContext: undefined,
    emulator: undefined,
  };
}

/**
 * Reads a legacy stream into the state after its last complete checkpoint.
 *
 * From a seekable input the pages' contents are not read, only found. `report` gets the warnings.
 * @throws FormatError what makes the stream unreadable, or any warning when `strict`
 */
export async function readLegacy(
  input: ByteSource | ByteStream,
  report: Report,
  options: ReadLegacyOptions & { readonly strict?: boolean } = {},
): Promise<LegacyState> {
  const problems = new Problems(report, options.strict ?? false);
  const reader = new LegacyReader(input, { ...options, onProblem: problems.add });
  const builder = new StateBuilder(reader.cursor, problems, rereadable(input, options.reread), options);
  try {
    await feed(reader, builder, options);
    const state = await builder.finish();
    if (options.qemu !== "none" && !state.incomplete) reportTrailing(reader.cursor, state.end);
    problems.commit();
    return state;
  } catch (error) {
    builder.close();
    throw error;
  }
}

/** Gives a consumer all chunks; what is unreadable behind a complete checkpoint is dropped, without one the rest salvaged. */
async function feed(reader: LegacyReader, builder: StateBuilder, options: ReadLegacyOptions): Promise<void> {
  const total = reader.cursor.reader.size;
  try {
    for await (const chunk of reader.chunks()) {
      options.onChunk?.(chunk);
      await builder.take(chunk);
      options.progress?.(reader.cursor.position, total);
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (builder.checkpoints > 0) builder.drop(error);
    else if (options.onIncomplete !== undefined && builder.salvage()) options.onIncomplete(error);
    else throw error;
  }
}
