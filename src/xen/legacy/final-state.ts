import type { Report } from "../../findings/report.js";
import type { Rule } from "../../findings/rule.js";
import { type ByteSource, type ByteStream, isByteSource, readFully } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import type { HvmTailChunk, LegacyChunk, PagesChunk, QemuChunk, TmemChunk, VcpuChunk } from "./chunks.js";
import { checkFrames, checkIoreqServer, checkTmem, reportTmem, reportTrailing } from "./checks.js";
import { type CodedGroup, firstDifference } from "./compression.js";
import type { Cursor } from "./cursor.js";
import { type CheckpointFacts, type FoldPolicy, type StreamFacts, StreamFold } from "./fold.js";
import type { LegacyHead } from "./head.js";
import type { Claims } from "./header.js";
import { hasData, PAGE, XSAVE_PREFIX } from "./layout.js";
import { PageStore, type PageRun } from "./page-store.js";
import { LegacyReader } from "./read.js";
import { CheckpointDiagnostics } from "./diagnostics.js";
import { LEGACY_RULES } from "./rules.js";
import { MemorySpool, type OpenSpool } from "../../io/spool.js";
import { type SourceRange, BlobStore } from "./blob-store.js";
import type { QemuRecord } from "./tail.js";

/** How a legacy stream is read into its final state. */
export interface ReadLegacyOptions extends Claims {
  readonly qemu?: QemuRecord;
  /** Of a stream whose head is damaged: what is known of it. */
  readonly head?: LegacyHead;
  /** Where contents go that can't be read from the input again; default: memory. */
  readonly openSpool?: OpenSpool;
  /** The bytes of a stream input, readable at any offset beside it: nothing is spooled then. */
  readonly reread?: ByteSource;
  /** Convert although guest data are lost (pages of persistent tmem pools). */
  readonly allowLoss?: boolean;
  /**
   * Called with the reason why the stream has no complete checkpoint: the state is then what came before. Without this
   * callback that is an error.
   */
  readonly onIncomplete?: (error: FormatError) => void;
  /** Rules that may be broken without an end of reading: what they are about is not wanted, or wanted as far as it goes. */
  readonly tolerate?: (rule: Rule) => boolean;
  /** Called with each chunk as it is read. */
  readonly onChunk?: (chunk: LegacyChunk) => void;
  /** Bytes read so far. */
  readonly progress?: (done: number, total: number | undefined) => void;
}

/** What keeping a state takes of the options. */
export type StateOptions = Pick<ReadLegacyOptions, "openSpool" | "allowLoss">;

/** State of one vCPU of a PV guest. */
export interface VcpuState {
  readonly id: number;
  readonly context: SourceRange;
  readonly extended: SourceRange | undefined;
  readonly xsave: SourceRange | undefined;
}

/** QEMU's state, and where it is. */
export interface EmulatorState extends SourceRange {
  /** Signature of the QEMU record. */
  readonly signature: string;
}

/** Everything but pages that a checkpoint brings. */
export type CheckpointState = CheckpointFacts<SourceRange, EmulatorState, VcpuState>;

/** A stream as its last complete checkpoint leaves it. */
export interface LegacyState extends CheckpointState, StreamFacts {
  readonly source: string;
  readonly pages: PageStore;
  /** It broke off before any checkpoint was complete: pages and vCPUs may be missing. */
  readonly incomplete: boolean;
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

/** Keeps pages and tails of a stream so that its final state can be read: the policy of `StateBuilder`. */
class StatePolicy implements FoldPolicy<SourceRange, EmulatorState, VcpuState> {
  readonly pageStore: PageStore;
  readonly blobs: BlobStore;
  readonly #cursor: Cursor;
  readonly #diagnostics: CheckpointDiagnostics;
  readonly #allowLoss: boolean;
  #compare: Uint8Array | undefined;

  constructor(
    cursor: Cursor,
    diagnostics: CheckpointDiagnostics,
    input: ByteSource | undefined,
    options: StateOptions,
  ) {
    this.#cursor = cursor;
    this.#diagnostics = diagnostics;
    this.#allowLoss = options.allowLoss === true;
    const openSpool = options.openSpool ?? (() => new MemorySpool());
    this.pageStore = new PageStore(input, openSpool);
    this.blobs = new BlobStore(input, openSpool);
  }

  pages(chunk: PagesChunk): Promise<void> {
    return this.pageStore.takeBatch(this.#cursor, chunk);
  }

  group(group: CodedGroup): Promise<void> {
    return this.pageStore.group(group);
  }

  tmem(chunk: TmemChunk): void {
    checkTmem(this.#cursor.reader.name, chunk, this.#allowLoss);
  }

  async hvmContext(chunk: HvmTailChunk): Promise<SourceRange> {
    const range = await this.blobs.keep(this.#cursor, chunk.dataLength, "HVM context");
    const context = new Uint8Array(range.length);
    if ((await readFully(range.source, range.offset, context)) === context.length)
      await this.#cursor.hvmContext(chunk.dataOffset, context);
    return range;
  }

  async emulator({ dataLength, signature }: QemuChunk): Promise<EmulatorState> {
    return { ...(await this.blobs.keep(this.#cursor, dataLength, "QEMU record")), signature };
  }

  async vcpu({ id, offset, context, extended, xsave }: VcpuChunk): Promise<VcpuState> {
    const extendedAt = offset + context.length;
    const xsaveAt = extendedAt + (extended?.length ?? 0) + XSAVE_PREFIX.size;
    return {
      id,
      context: await this.blobs.keepBytes(offset, context),
      extended: extended && (await this.blobs.keepBytes(extendedAt, extended)),
      xsave: xsave && (await this.blobs.keepBytes(xsaveAt, xsave)),
    };
  }

  /** Pages of the verify pass must be those already there. */
  async verifyPages(chunk: PagesChunk): Promise<void> {
    this.#compare ??= new Uint8Array(2 * PAGE);
    const sent = this.#compare.subarray(0, PAGE);
    const kept = this.#compare.subarray(PAGE);
    for (const entry of chunk.entries) {
      if (!hasData(entry >>> 28)) continue;
      const pfn = entry & 0x0fffffff;
      const offset = this.#cursor.position;
      await this.#cursor.fill(sent, "page data");
      if (!this.pageStore.index.isStored(pfn)) {
        this.#cursor.report(
          LEGACY_RULES.verifyDiffers,
          offset,
          `pfn 0x${pfn.toString(16)} comes in the verify pass only`,
        );
        continue;
      }
      await this.pageStore.readPage(pfn, kept);
      const at = firstDifference(sent, kept);
      if (at >= 0) {
        const place = `byte 0x${at.toString(16)} of pfn 0x${pfn.toString(16)}`;
        this.#cursor.report(LEGACY_RULES.verifyDiffers, offset, `the verify pass differs from ${place} on`);
      }
    }
  }

  async commit(): Promise<void> {
    this.#diagnostics.commit();
    this.pageStore.commit();
    await this.blobs.commit();
  }
}

/** Takes the chunks of a stream and keeps the state they lead to. */
export class StateBuilder {
  readonly #cursor: Cursor;
  readonly #diagnostics: CheckpointDiagnostics;
  readonly #policy: StatePolicy;
  readonly #fold: StreamFold<SourceRange, EmulatorState, VcpuState>;
  #salvaged = false;

  /** @param input the stream's input where it can be read at any offset */
  constructor(
    cursor: Cursor,
    diagnostics: CheckpointDiagnostics,
    input: ByteSource | undefined,
    options: StateOptions,
  ) {
    this.#cursor = cursor;
    this.#diagnostics = diagnostics;
    this.#policy = new StatePolicy(cursor, diagnostics, input, options);
    this.#fold = new StreamFold(cursor, this.#policy);
  }

  /** Complete checkpoints so far. */
  get checkpoints(): number {
    return this.#fold.checkpoints;
  }

  /** Takes the next chunk. @throws FormatError, AbsentError, SystemError */
  take(chunk: LegacyChunk): Promise<void> {
    return this.#fold.take(chunk);
  }

  /** Drops what came since the last checkpoint, for `reason`. @throws FormatError when strict */
  drop(reason: FormatError): void {
    this.#policy.pageStore.rollback();
    this.#fold.drop(reason, this.#diagnostics);
  }

  /** Takes what there is as if it were complete; false before anything of the guest is known. */
  salvage(): boolean {
    if (!this.#fold.salvage()) return false;
    this.#diagnostics.commit();
    this.#policy.pageStore.commit();
    this.#salvaged = true;
    return true;
  }

  /** The state after the last complete checkpoint; checks what only shows at the end. */
  async finish(): Promise<LegacyState> {
    const facts = this.#fold.facts();
    const { complete } = this.#fold;
    if (facts === undefined || complete === undefined) {
      return this.#cursor.fail(
        LEGACY_RULES.truncated,
        this.#cursor.position,
        "the stream holds no complete checkpoint",
      );
    }
    const { pageStore: pages, blobs } = this.#policy;
    await pages.finish();
    if (!this.#salvaged) {
      if (facts.pv !== undefined) checkFrames(this.#cursor, facts.pv, pages.index, complete.unmapped);
      checkIoreqServer(this.#cursor, complete.parameters, facts.end);
    }
    for (const [pfn, offset] of pages.damaged) {
      if (complete.unmapped?.has(pfn) === true) continue;
      this.#diagnostics.report(
        LEGACY_RULES.senderDefect,
        { offset },
        `pfn 0x${pfn.toString(16)} is coded as a difference although the sender had no base for it: its contents are wrong`,
      );
    }
    reportTmem(this.#cursor, facts.tmem);
    this.#diagnostics.commit();
    return {
      ...complete,
      ...facts,
      source: this.#cursor.reader.name,
      pages,
      incomplete: this.#salvaged,
      runs: (limit) => pages.runs(complete.unmapped, limit),
      close() {
        pages.close();
        blobs.close();
      },
    };
  }

  /** Gives spools back. */
  close(): void {
    this.#policy.pageStore.close();
    this.#policy.blobs.close();
  }
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
  const diagnostics = new CheckpointDiagnostics(report, options.strict ?? false, options.tolerate);
  const reader = new LegacyReader(input, { ...options, diagnostics });
  const builder = new StateBuilder(reader.cursor, diagnostics, rereadable(input, options.reread), options);
  try {
    await feed(reader, builder, options);
    const state = await builder.finish();
    if (options.qemu !== "none" && !state.incomplete) reportTrailing(reader.cursor, state.end, state.pv);
    diagnostics.commit();
    return state;
  } catch (error) {
    builder.close();
    throw error;
  }
}

/** Gives the builder all chunks. What is unreadable after a complete checkpoint is dropped; without one, what came is salvaged. */
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
