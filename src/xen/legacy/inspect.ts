import { type Diagnostics, formatError } from "../../findings/diagnostics.js";
import type { Finding, RecordRef } from "../../findings/finding.js";
import { Report } from "../../findings/report.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import { latin1 } from "../../binary/layout.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import type { OpenOptions, VerifyOptions } from "../../guest/options.js";
import { summarizeVcpu, type Vcpu, type VcpuSummary } from "../../guest/vcpu.js";
import { type HvmContextEntry, hvmContextEntries } from "../hvm-context/entries.js";
import { saveTypeName } from "../hvm-context/layout.js";
import { labelHvmParams } from "../libxc/hvm-params.js";
import { PAGE_TYPE_NAMES } from "../libxc/layout.js";
import { summarizeTsc, type TscSummary } from "../libxc/records.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import { summarizeInput } from "../summary.js";
import { hvmVcpus } from "../vcpu.js";
import { legacyOrigin, openLegacyGuest } from "./guest.js";
import { configInHeader, summarizeConfig, type XlConfig } from "../xl/config.js";
import { checkFrames, checkIoreqServer, reportTmem, reportTrailing } from "./checks.js";
import type { HvmTailChunk, PagesChunk, QemuChunk, VcpuChunk } from "./chunks.js";
import { type CodedGroup, SenderCache } from "./compression.js";
import type { Cursor } from "./cursor.js";
import { LaterCheckpointDiagnostics } from "./diagnostics.js";
import type { EntryCounts } from "./entry-counts.js";
import { type CheckpointFacts, type FoldPolicy, StreamFold } from "./fold.js";
import type { LegacyHead } from "./head.js";
import { type GuestKind, hasData, type ToolstackWidth, TYPE } from "./layout.js";
import { PageIndex } from "./page-index.js";
import { LegacyReader } from "./read.js";
import { LEGACY_RULES } from "./rules.js";
import { salvageOf } from "./salvage.js";
import type { TmemPool } from "./tmem.js";

/** What `inspect` says of a legacy stream. */
export type LegacyInspection = GuestInspection<"xen-legacy", LegacyDetails>;

/** What only a legacy stream has. */
export interface LegacyDetails {
  /** Outermost layer. */
  readonly layer: "libxc" | "libxl" | "xl";
  readonly width: ToolstackWidth;
  /** Undefined: it is damaged, and not known; so is the number of pfns. */
  readonly guest: GuestKind | undefined;
  /** Bytes of a PV guest's word. */
  readonly guestWidth: number | undefined;
  readonly p2mSize: number | undefined;
  /** The guest's configuration from an xl header. */
  readonly config: XlConfig | undefined;
  readonly entries: EntryCounts;
  /** Final pages by type; what the guest had given back is left out. */
  readonly pages: Readonly<Record<string, number>>;
  readonly unmapped: number;
  readonly checkpoints: { readonly complete: number; readonly begun: number; readonly marked: boolean };
  readonly compression: boolean;
  readonly verifyPass: boolean;
  readonly live: boolean;
  readonly tsc: TscSummary | undefined;
  readonly hvmParams: Readonly<Record<string, bigint>>;
  readonly hvmContext: readonly { name: string; instance: number; length: number }[] | undefined;
  readonly physmap: readonly {
    physOffset: bigint;
    startAddr: bigint;
    size: bigint;
    name: string | undefined;
  }[];
  readonly emulator: { readonly signature: string; readonly length: number | undefined } | undefined;
  readonly tmem: readonly TmemPool[];
  /** Bytes up to the end of the last complete checkpoint. */
  readonly bytes: number;
}

/** Descriptor tables of PV guests are not looked up here. */
const NO_MEMORY: PhysicalMemory = {
  ranges: () => [],
  read: () => 0,
  async *pieces() {},
};

/** QEMU's record of a stream. */
interface EmulatorRecord {
  readonly signature: string;
  /** Bytes; undefined: up to the end of the input. */
  readonly length: number | undefined;
}

type Facts = CheckpointFacts<Uint8Array, EmulatorRecord, Vcpu>;

/** Indexes the types of a stream's pages. Contents are skipped; compressed ones are decoded as far as their first byte. */
class TypeIndex implements FoldPolicy<Uint8Array, EmulatorRecord, Vcpu> {
  readonly index = new PageIndex();
  readonly #cursor: Cursor;
  readonly #senderCache = new SenderCache();

  constructor(cursor: Cursor) {
    this.#cursor = cursor;
  }

  async pages(chunk: PagesChunk): Promise<void> {
    for (const entry of chunk.entries) {
      const type = entry >>> 28;
      if (type === TYPE.invalid) continue;
      this.index.setType(entry & 0x0fffffff, type);
      if (hasData(type)) this.index.setCopy(entry & 0x0fffffff, false, 0);
    }
  }

  async verifyPages(): Promise<void> {}

  async group(group: CodedGroup): Promise<void> {
    for (let i = 0; i < group.count; i += 1) {
      const entry = group.entries[i] ?? 0;
      const at = group.at[i] ?? 0;
      if (!this.#senderCache.sent(entry, group.coded[at] ?? 0)) continue;
      const pfn = `pfn 0x${(entry & 0x0fffffff).toString(16)}`;
      const message = `${pfn} is coded as a difference although the sender had no base for it`;
      this.#cursor.report(LEGACY_RULES.senderDefect, group.offset + at, message);
    }
  }

  async hvmContext({ dataLength, dataOffset }: HvmTailChunk): Promise<Uint8Array> {
    const context = await this.#cursor.bytes(dataLength, "HVM context");
    await this.#cursor.hvmContext(dataOffset, context);
    return context;
  }

  async emulator({ signature, dataLength }: QemuChunk): Promise<EmulatorRecord> {
    return { signature, length: dataLength };
  }

  async vcpu({ id, context }: VcpuChunk): Promise<Vcpu> {
    return { id, registers: await pvRegisters(context.slice(), NO_MEMORY) };
  }

  async commit(): Promise<void> {
    this.index.commit(() => {});
  }
}

/** Bytes of an input; a pipe is read to its end for it. */
async function sizeOf(reader: ByteReader): Promise<number> {
  if (reader.size !== undefined) return reader.size;
  await reader.skip(Number.MAX_SAFE_INTEGER - reader.position);
  return reader.position;
}

/** Reads a legacy stream's structure and says what is in it and what is wrong with it. */
class LegacyInspector {
  readonly #diagnostics: Diagnostics;
  readonly #reader: LegacyReader;
  readonly #types: TypeIndex;
  readonly #fold: StreamFold<Uint8Array, EmulatorRecord, Vcpu>;
  readonly #head: LegacyHead | undefined;
  #isClosing = false;

  constructor(input: ByteSource | ByteStream, target: Diagnostics, head?: LegacyHead) {
    this.#head = head;
    const isLater = (): boolean => this.#fold.checkpoints > 0 && !this.#isClosing;
    const diagnostics = new LaterCheckpointDiagnostics(target, isLater);
    this.#diagnostics = target;
    this.#reader = new LegacyReader(input, { diagnostics, ...(head === undefined ? {} : { head }) });
    this.#types = new TypeIndex(this.#reader.cursor);
    this.#fold = new StreamFold(this.#reader.cursor, this.#types);
  }

  /** Facts of the last complete checkpoint; before one is complete, those so far. */
  get #facts(): Facts {
    return this.#fold.complete ?? this.#fold.current;
  }

  /** Reads the stream. Returns the error that ended it before its first complete checkpoint, if one did. */
  async run(progress?: (done: number, total: number | undefined) => void): Promise<FormatError | undefined> {
    const { cursor } = this.#reader;
    let damage: FormatError | undefined;
    try {
      for await (const chunk of this.#reader.chunks()) {
        await this.#fold.take(chunk);
        progress?.(cursor.position, cursor.reader.size);
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      damage = this.#unreadable(error);
    }
    if (this.#fold.checkpoints > 0) await this.#closing(damage === undefined);
    return damage;
  }

  /** Where reading ends: an error before the first complete checkpoint, a warning after one. */
  #unreadable(error: FormatError): FormatError | undefined {
    const { cursor } = this.#reader;
    const place = { offset: error.place.offset ?? cursor.position, record: cursor.chunk };
    if (this.#fold.checkpoints === 0) {
      this.#diagnostics.report(error.rule, place, error.message);
      return error;
    }
    this.#types.index.rollback();
    const message = `what follows checkpoint ${this.#fold.checkpoints} is incomplete: ${error.message}`;
    this.#diagnostics.report(LEGACY_RULES.incompleteCheckpoint, place, message);
    return undefined;
  }

  /** Checks what only shows at the end. */
  async #closing(whole: boolean): Promise<void> {
    this.#isClosing = true;
    const { cursor } = this.#reader;
    const { end, tmem, pv } = this.#fold;
    const { parameters, unmapped } = this.#facts;
    checkIoreqServer(cursor, parameters, end);
    reportTmem(cursor, tmem);
    if (whole && cursor.position === end) reportTrailing(cursor, end, pv, await sizeOf(cursor.reader));
    if (pv !== undefined) checkFrames(cursor, pv, this.#types.index, unmapped);
  }

  /** vCPUs that are online, with what is known of their registers. */
  vcpus(): VcpuSummary[] {
    const isPv = this.#fold.header?.guest === "pv";
    const vcpus = isPv ? this.#facts.vcpus : hvmVcpus(this.#contextEntries());
    return vcpus.map(summarizeVcpu);
  }

  #contextEntries(): HvmContextEntry[] {
    const { hvmContext } = this.#facts;
    return hvmContext === undefined ? [] : [...hvmContextEntries(hvmContext)];
  }

  /** The chunk that is read. */
  get chunk(): RecordRef {
    return this.#reader.cursor.chunk;
  }

  /** The stream's facts; undefined when not even its header could be read. */
  details(): LegacyDetails | undefined {
    const stream = this.#fold.facts();
    if (stream === undefined) return undefined;
    const { header, pv, xlHeader } = stream;
    const facts = this.#facts;
    const config = xlHeader === undefined ? undefined : configInHeader(xlHeader.bytes);
    const entries = this.#contextEntries();
    const isLibxl = facts.toolstack || facts.emulator !== undefined;
    return {
      layer: xlHeader === undefined ? (isLibxl ? "libxl" : "libxc") : "xl",
      width: header.width,
      ...(this.#head === undefined
        ? { guest: header.guest, guestWidth: pv?.guestWidth, p2mSize: header.p2mSize }
        : { guest: this.#head.guest, guestWidth: this.#head.guestWidth, p2mSize: this.#head.p2mSize }),
      config: config === undefined ? undefined : summarizeConfig(config),
      entries: stream.entries,
      pages: this.#pagesByType(),
      unmapped: facts.unmapped?.size ?? 0,
      checkpoints: stream.checkpoints,
      compression: stream.compression,
      verifyPass: stream.verifyPass,
      // where the TSC's state was lost with the head nothing shows whether memory came before it
      live: this.#fold.live && !(this.#head !== undefined && facts.tsc === undefined),
      tsc: facts.tsc && summarizeTsc(facts.tsc),
      hvmParams: labelHvmParams(facts.parameters),
      hvmContext:
        facts.hvmContext &&
        entries.map(({ typecode, instance, body }) => ({
          name: saveTypeName(typecode),
          instance,
          length: body.length,
        })),
      physmap: facts.physmap.map((entry) => ({ ...entry, name: entry.name && latin1(entry.name) })),
      emulator: facts.emulator,
      tmem: stream.tmem,
      bytes: stream.end,
    };
  }

  #pagesByType(): Record<string, number> {
    const { index } = this.#types;
    const { unmapped } = this.#facts;
    const pages: Record<string, number> = {};
    for (let pfn = index.next(0); pfn !== undefined; pfn = index.next(pfn + 1)) {
      const type = index.type(pfn);
      if (type === undefined || unmapped?.has(pfn) === true) continue;
      const name = PAGE_TYPE_NAMES[type] ?? String(type);
      pages[name] = (pages[name] ?? 0) + 1;
    }
    return pages;
  }
}

/** Reports all that is wrong with a legacy stream. @throws SystemError */
export async function verifyLegacy(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: VerifyOptions = {},
): Promise<void> {
  await new LegacyInspector(input, diagnostics).run(options.progress);
}

/**
 * Describes a legacy stream as its last complete checkpoint leaves it; without one, what came before the damage.
 * @throws FormatError when not even its header can be read
 */
export async function inspectLegacy(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
): Promise<LegacyInspection> {
  const progress = (done: number, total: number | undefined): void =>
    options.progress?.(done, total, "reading");
  let inspector = new LegacyInspector(input, new Report(input.name));
  const error = await inspector.run(progress);
  const damaged = inspector.chunk;
  const head = error !== undefined && isByteSource(input) ? (await salvageOf(input))?.head : undefined;
  if (head !== undefined) {
    inspector = new LegacyInspector(input, new Report(input.name), head);
    await inspector.run(progress);
  }
  const details = inspector.details();
  if (details === undefined) {
    throw error ?? formatError(LEGACY_RULES.notLegacy, input.name, { offset: 0 }, "no legacy stream");
  }
  const summary = await summarizeInput(input, options, openLegacyGuest);
  return {
    schemaVersion: 2,
    kind: "xen-legacy",
    source: input.name,
    origin: summary?.origin ?? legacyOrigin(details.width),
    guest: summary?.guest ?? {
      name: details.config?.name,
      uuid: details.config?.uuid,
      type: details.guest?.toUpperCase(),
    },
    memory: summary?.memory,
    vcpus: summary?.vcpus ?? inspector.vcpus(),
    software: summary?.software,
    damage: error === undefined ? [] : [findingOf(error, damaged)],
    warnings: summary?.warnings ?? [],
    details,
  };
}

function findingOf(error: FormatError, record: RecordRef): Finding {
  const { code, severity, spec } = error.rule;
  return { code, severity, offset: error.place.offset ?? 0, record, message: error.message, spec };
}
