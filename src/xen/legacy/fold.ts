import type { FormatError } from "../../findings/errors.js";
import { setParameter } from "./checks.js";
import type {
  HeaderChunk,
  HvmTailChunk,
  LegacyChunk,
  PagesChunk,
  PvInfoChunk,
  QemuChunk,
  TmemChunk,
  TscInfoChunk,
  VcpuChunk,
  VerifyModeChunk,
  XlHeaderChunk,
} from "./chunks.js";
import { type CodedPageHandler, CompressedPages } from "./compression.js";
import type { Cursor } from "./cursor.js";
import type { CheckpointDiagnostics } from "./diagnostics.js";
import { countEntries, type EntryCounts, noEntries } from "./entry-counts.js";
import { hasData, TAIL_PARAMETER } from "./layout.js";
import type { PfnSet } from "./pfn-set.js";
import { LEGACY_RULES } from "./rules.js";
import type { TmemPool } from "./tmem.js";
import type { PhysmapEntry } from "../libxl/write.js";

/** Everything but pages that a checkpoint brings; contents in tails are what the policy made of them. */
export interface CheckpointFacts<Context, Emulator, Vcpu> {
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
  vcpus: Vcpu[];
  sharedInfo: Uint8Array | undefined;
  unmapped: PfnSet | undefined;
  hvmContext: Context | undefined;
  emulator: Emulator | undefined;
}

/** What a stream says of itself as a whole. */
export interface StreamFacts {
  readonly xlHeader: XlHeaderChunk | undefined;
  readonly header: HeaderChunk;
  readonly pv: PvInfoChunk | undefined;
  readonly checkpoints: { readonly complete: number; readonly begun: number; readonly marked: boolean };
  readonly compression: boolean;
  readonly verifyPass: boolean;
  readonly tmem: readonly TmemPool[];
  readonly entries: EntryCounts;
  /** Bytes of the input that belong to the stream: up to the end of its last complete checkpoint. */
  readonly end: number;
}

/**
 * What a consumer of a legacy stream does with its pages and with the contents in its tails. Contents that follow a
 * chunk may be taken from the cursor; those left are passed over.
 */
export interface FoldPolicy<Context, Emulator, Vcpu> extends CodedPageHandler {
  /** Takes the entries of a batch, and its contents unless they come compressed. */
  pages(chunk: PagesChunk): Promise<void>;
  /** Takes a batch of the verify pass: pages sent again for comparison. */
  verifyPages(chunk: PagesChunk): Promise<void>;
  hvmContext(chunk: HvmTailChunk): Promise<Context | undefined>;
  emulator(chunk: QemuChunk): Promise<Emulator>;
  vcpu(chunk: VcpuChunk): Promise<Vcpu>;
  tmem?(chunk: TmemChunk): void;
  verifyMode?(chunk: VerifyModeChunk): void;
  endOfBody?(): Promise<void>;
  /** Makes what came since the last checkpoint final. */
  commit(): Promise<void>;
}

/** Takes the chunks of a legacy stream in order and keeps the facts they lead to, checkpoint by checkpoint. */
export class StreamFold<Context, Emulator, Vcpu> {
  readonly entries: EntryCounts = noEntries();
  /** Facts of the checkpoint that is read. */
  current: CheckpointFacts<Context, Emulator, Vcpu> = emptyCheckpoint();
  /** Facts of the last complete checkpoint. */
  complete: CheckpointFacts<Context, Emulator, Vcpu> | undefined;
  /** Complete checkpoints. */
  checkpoints = 0;
  /** Offset after the last complete checkpoint. */
  end = 0;
  xlHeader: XlHeaderChunk | undefined;
  header: HeaderChunk | undefined;
  pv: PvInfoChunk | undefined;
  tmem: readonly TmemPool[] = [];
  /** Pages came before the TSC info: the guest ran while it was saved. */
  live = false;
  compression = false;
  verifyPass = false;
  #begun = false;
  #marked = false;
  readonly #cursor: Cursor;
  readonly #policy: FoldPolicy<Context, Emulator, Vcpu>;
  readonly #coded = new CompressedPages();

  constructor(cursor: Cursor, policy: FoldPolicy<Context, Emulator, Vcpu>) {
    this.#cursor = cursor;
    this.#policy = policy;
  }

  /** Takes the next chunk. @throws FormatError, and what the policy throws */
  async take(chunk: LegacyChunk): Promise<void> {
    switch (chunk.kind) {
      case "xl-header":
        this.xlHeader = chunk;
        return;
      case "header":
        this.header = chunk;
        return;
      case "pv-info":
        this.pv = chunk;
        return;
      case "checkpoint":
        return this.#commit(chunk.offset);
      default:
        this.#begun = true;
        return this.#takePart(chunk);
    }
  }

  async #takePart(chunk: CheckpointPart): Promise<void> {
    const facts = this.current;
    const policy = this.#policy;
    switch (chunk.kind) {
      case "pages":
        return this.#pages(chunk);
      case "compressed-data":
        return this.#coded.read(this.#cursor, chunk.dataLength, policy);
      case "end-of-body":
        this.#coded.finish(this.#cursor);
        facts.vcpuIds = chunk.vcpus;
        facts.vcpuAssumed = chunk.assumed;
        return policy.endOfBody?.();
      case "parameter":
        setParameter(facts.parameters, chunk.parameter, chunk.value);
        return;
      case "tsc-info":
        facts.tsc = chunk;
        return;
      case "toolstack":
        facts.physmap = chunk.physmap;
        facts.toolstack = true;
        return;
      case "tmem":
        this.tmem = chunk.pools;
        policy.tmem?.(chunk);
        return;
      case "verify-mode":
        this.verifyPass = true;
        policy.verifyMode?.(chunk);
        return;
      case "last-checkpoint":
        this.#marked = true;
        return;
      case "enable-compression":
        this.compression = true;
        return;
      case "hvm-tail":
        setParameter(facts.parameters, TAIL_PARAMETER.ioreqPfn, chunk.ioreqPfn);
        setParameter(facts.parameters, TAIL_PARAMETER.bufferedIoreqPfn, chunk.bufferedIoreqPfn);
        setParameter(facts.parameters, TAIL_PARAMETER.storePfn, chunk.storePfn);
        facts.hvmContext = (await policy.hvmContext(chunk)) ?? facts.hvmContext;
        return;
      case "qemu":
        facts.emulator = await policy.emulator(chunk);
        return;
      case "unmapped":
        facts.unmapped = chunk.pfns;
        return;
      case "vcpu":
        facts.vcpus.push(await policy.vcpu(chunk));
        return;
      case "shared-info":
        facts.sharedInfo = chunk.bytes;
        return;
      case "vcpu-info":
      case "tmem-invalidations":
        // the end of the body repeats the one, and nothing takes the other
        return;
      default:
        chunk satisfies never;
    }
  }

  #pages(chunk: PagesChunk): Promise<void> {
    countEntries(this.entries, chunk);
    if (this.current.tsc === undefined) this.live = true;
    if (chunk.verify) return this.#policy.verifyPages(chunk);
    if (chunk.compressed) {
      for (const entry of chunk.entries) if (hasData(entry >>> 28)) this.#coded.announce(entry);
    }
    return this.#policy.pages(chunk);
  }

  async #commit(end: number): Promise<void> {
    await this.#policy.commit();
    this.complete = this.current;
    this.current = { ...this.complete, parameters: new Map(this.complete.parameters), vcpus: [] };
    this.checkpoints += 1;
    this.#begun = false;
    this.end = end;
  }

  /** Takes what came as if a checkpoint were complete; false before anything of the guest is known. */
  salvage(): boolean {
    if (this.header === undefined || (this.header.guest === "pv" && this.pv === undefined)) return false;
    this.complete = this.current;
    this.end = this.#cursor.position;
    return true;
  }

  /** Drops what is held of the checkpoint that is read, and reports why. @throws FormatError when strict */
  drop(reason: FormatError, diagnostics: CheckpointDiagnostics): void {
    diagnostics.rollback();
    const dropped = this.#cursor.position - this.end;
    const where = reason.place.offset === undefined ? "" : ` at offset 0x${reason.place.offset.toString(16)}`;
    diagnostics.report(
      LEGACY_RULES.incompleteCheckpoint,
      { offset: this.end, record: this.#cursor.chunk },
      `what follows checkpoint ${this.checkpoints} is dropped, ${dropped} bytes or more: ${reason.message}${where}`,
    );
    diagnostics.commit();
  }

  /** What the stream says of itself; undefined when not even its header came. */
  facts(): StreamFacts | undefined {
    const { header } = this;
    if (header === undefined) return undefined;
    const { xlHeader, pv, compression, verifyPass, tmem, entries, end } = this;
    return {
      xlHeader,
      header,
      pv,
      checkpoints: {
        complete: this.checkpoints,
        begun: this.checkpoints + (this.#begun ? 1 : 0),
        marked: this.#marked,
      },
      compression,
      verifyPass,
      tmem,
      entries,
      end,
    };
  }
}

/** Chunks that belong to a checkpoint. */
type CheckpointPart = Exclude<
  LegacyChunk,
  { readonly kind: "xl-header" | "header" | "pv-info" | "checkpoint" }
>;

function emptyCheckpoint<Context, Emulator, Vcpu>(): CheckpointFacts<Context, Emulator, Vcpu> {
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
