import { Report } from "../../findings/report.js";
import type { ByteSink } from "../../io/byte-sink.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { FormatError } from "../../findings/errors.js";
import type { StreamVersion } from "../libxc/write.js";
import { StreamingConverter } from "./streaming.js";
import type { LegacyChunk } from "./chunks.js";
import { type ConversionReport, conversionReport } from "./conversion-report.js";
import { emitState, type OutputFormat, StreamEmitter, type Target } from "./emit.js";
import { reportTrailing } from "./checks.js";
import type { LegacyHead } from "./head.js";
import { rescueWarnings } from "../../guest/salvage.js";
import { salvageOf } from "./salvage.js";
import { type LegacyState, type ReadLegacyOptions, rereadable, StateBuilder } from "./final-state.js";
import { CheckpointDiagnostics } from "./diagnostics.js";
import { LegacyReader } from "./read.js";
import { LEGACY_RULES } from "./rules.js";
import { MemorySpool } from "../../io/spool.js";
import type { QemuRecord } from "./tail.js";
import { formatError } from "../../findings/diagnostics.js";

/** How a legacy stream is converted. */
export interface ConvertOptions extends Omit<ReadLegacyOptions, "qemu" | "progress" | "head"> {
  /** Default 3. */
  readonly version?: StreamVersion;
  /** Outermost layer of the output; default: that of the input. */
  readonly format?: OutputFormat;
  /** Refuse where a warning would be given. */
  readonly strict?: boolean;
  /** Convert what is left of a stream that is damaged in its memory, as long as its tail is whole. */
  readonly partial?: boolean;
  /** There is no QEMU record, or it is to be left unread. */
  readonly skipQemu?: boolean;
  /** In libxc output put the QEMU record as it is after the stream, as old callers of libxc expect it. */
  readonly keepQemuRecord?: boolean;
  readonly progress?: (done: number, total: number | undefined, phase: string) => void;
}

/** Chunks before which it shows whether a stream can be written as it comes. */
const EARLY: ReadonlySet<LegacyChunk["kind"]> = new Set([
  "xl-header",
  "header",
  "pv-info",
  "tmem",
  "tsc-info",
]);

function qemuRecord(options: ConvertOptions): QemuRecord {
  if (options.skipQemu === true) return "none";
  return options.format === "libxl" || options.format === "xl" ? "expected" : "detect";
}

/**
 * Converts a legacy stream to version 3 (or 2) of the format.
 *
 * An input that can be read again is read twice: once for what is where, then in order of pfns for the output. From a
 * pipe a plain HVM stream is written while it is read; others are spooled, since only their end tells which pages count.
 * Nothing is written before an error unless the output is written as the input comes.
 * @throws FormatError the stream can't be converted, AbsentError, SystemError
 */
export async function convertLegacy(
  input: ByteSource | ByteStream,
  sink: ByteSink,
  options: ConvertOptions = {},
): Promise<ConversionReport> {
  if (options.partial !== true || !isByteSource(input)) return convertWhole(input, sink, options);
  const salvage = await salvageOf(input, options);
  if (salvage === undefined) return convertWhole(input, sink, options);
  const { head } = salvage;
  const report = await convertWhole(salvage.source, sink, {
    ...options,
    tolerateDamage: true,
    ...(head === undefined ? {} : { head }),
  });
  const { doubtfulOf } = await import("./guest.js");
  const doubtful = await doubtfulOf(salvage, options);
  const lost = rescueWarnings({
    lost: salvage.lost,
    doubtful,
    ...(head === undefined ? {} : { head: head.facts }),
  });
  return { ...report, losses: [...lost, ...report.losses] };
}

/** How what is left of a damaged stream is converted. */
interface DamagedOptions extends ConvertOptions {
  readonly tolerateDamage?: boolean;
  readonly head?: LegacyHead;
}

async function convertWhole(
  input: ByteSource | ByteStream,
  sink: ByteSink,
  options: DamagedOptions,
): Promise<ConversionReport> {
  const report = new Report(input.name);
  const diagnostics = new CheckpointDiagnostics(
    report,
    options.strict ?? false,
    // frames of a table that are lost are said to be lost
    (rule) => options.tolerateDamage === true && rule === LEGACY_RULES.p2mFrame,
  );
  const qemu = qemuRecord(options);
  const reader = new LegacyReader(input, { ...options, qemu, diagnostics });
  const again = rereadable(input, options.reread);
  const total = reader.cursor.reader.size;
  const early: LegacyChunk[] = [];
  let consumer: StateBuilder | StreamingConverter | undefined;
  let streaming: StreamingConversion | undefined;
  try {
    try {
      for await (const chunk of reader.chunks()) {
        options.onChunk?.(chunk);
        if (consumer === undefined) {
          early.push(chunk);
          if (EARLY.has(chunk.kind)) continue;
          streaming = streamingConversion(early, again, reader, diagnostics, sink, options);
          consumer = streaming?.converter ?? new StateBuilder(reader.cursor, diagnostics, again, options);
          for (const waiting of early) await consumer.take(waiting);
        } else {
          await consumer.take(chunk);
        }
        if (again === undefined) options.progress?.(reader.cursor.position, total, "reading");
      }
    } catch (error) {
      if (!(error instanceof FormatError) || consumer === undefined || consumer.checkpoints === 0)
        throw error;
      consumer.drop(error);
    }
    if (streaming !== undefined) return await streaming.finish(report);
    if (!(consumer instanceof StateBuilder)) throw reader.cursor.truncated(4, "body");
    const state = await consumer.finish();
    if (qemu !== "none") reportTrailing(reader.cursor, state.end, state.pv);
    diagnostics.commit();
    return await writeState(state, sink, report, options);
  } finally {
    if (consumer instanceof StateBuilder) consumer.close();
  }
}

/** A conversion that writes while it reads. */
class StreamingConversion {
  readonly converter: StreamingConverter;
  readonly #emitter: StreamEmitter;
  readonly #target: Target;
  readonly #layer: OutputFormat;

  constructor(converter: StreamingConverter, emitter: StreamEmitter, target: Target, layer: OutputFormat) {
    this.converter = converter;
    this.#emitter = emitter;
    this.#target = target;
    this.#layer = layer;
  }

  async finish(report: Report): Promise<ConversionReport> {
    await this.converter.finish();
    const { fold } = this.converter;
    const facts = fold.facts();
    if (facts === undefined)
      throw formatError(LEGACY_RULES.notLegacy, report.source, { offset: 0 }, "no header");
    const checkpoint = fold.complete ?? fold.current;
    const layer = this.#layer === "libxc" && checkpoint.emulator !== undefined ? "libxl" : this.#layer;
    return conversionReport(
      { ...checkpoint, ...facts },
      { report, layer, target: this.#target, emitter: this.#emitter, streamed: true },
    );
  }
}

/** The conversion for a stream that can be written as it comes: plain, HVM, and not to be had again. */
function streamingConversion(
  early: readonly LegacyChunk[],
  again: ByteSource | undefined,
  reader: LegacyReader,
  diagnostics: CheckpointDiagnostics,
  sink: ByteSink,
  options: ConvertOptions,
): StreamingConversion | undefined {
  const header = early.find((chunk) => chunk.kind === "header");
  const isXl = early.some((chunk) => chunk.kind === "xl-header");
  const format = options.format ?? (isXl ? "xl" : undefined);
  const plain = header?.guest === "hvm" && early.some((chunk) => chunk.kind === "tsc-info");
  if (again !== undefined || !plain || format === undefined) return undefined;
  const target: Target = { version: options.version ?? 3, format };
  const emitter = new StreamEmitter(sink, target);
  const converter = new StreamingConverter(reader.cursor, diagnostics, emitter, target, {
    allowLoss: options.allowLoss ?? false,
    keepQemuRecord: options.keepQemuRecord ?? false,
    openSpool: options.openSpool ?? (() => new MemorySpool()),
  });
  return new StreamingConversion(
    converter,
    emitter,
    target,
    isXl ? "xl" : format === "xl" ? "libxl" : format,
  );
}

/** The outermost layer of the input. */
function layerOf(state: LegacyState): OutputFormat {
  if (state.xlHeader !== undefined) return "xl";
  return state.toolstack || state.emulator !== undefined ? "libxl" : "libxc";
}

/** A PV guest is restored by its p2m table: nothing is converted without what leads to it. @throws FormatError */
function requireP2m({ pv, source }: LegacyState, head: LegacyHead | undefined): void {
  if (pv === undefined || head === undefined) return;
  const place = { offset: head.lost[0]?.start ?? 0 };
  if (pv.p2mFrames === undefined) {
    const message = "the list of p2m frames is damaged, which nothing else in the stream says";
    throw formatError(LEGACY_RULES.p2mLost, source, place, message);
  }
  if (head.p2mSize === undefined)
    throw formatError(LEGACY_RULES.p2mLost, source, place, "p2m_size is damaged, and not all pfns are named");
}

async function writeState(
  state: LegacyState,
  sink: ByteSink,
  report: Report,
  options: DamagedOptions,
): Promise<ConversionReport> {
  requireP2m(state, options.head);
  const layer = layerOf(state);
  const target: Target = { version: options.version ?? 3, format: options.format ?? layer };
  const lacksEmulator = state.pv === undefined && state.emulator === undefined && target.format !== "libxc";
  if (lacksEmulator && options.skipQemu !== true) {
    throw formatError(
      LEGACY_RULES.qemuMissing,
      report.source,
      { offset: state.end },
      "the stream has no QEMU record, which libxl and xl need (libxc output goes without it)",
      { option: "skip-qemu", effect: "converts it without" },
    );
  }
  const emitter = new StreamEmitter(sink, target);
  const totalPages = state.entries.copies;
  await emitState(emitter, state, target, {
    keepQemuRecord: options.keepQemuRecord ?? false,
    ...(options.progress === undefined
      ? {}
      : { progress: (pages) => options.progress?.(pages * 4096, totalPages * 4096, "writing") }),
  });
  const written = conversionReport(state, { report, layer, target, emitter, streamed: false });
  const { head } = options;
  if (head === undefined) return written;
  return { ...written, input: { ...written.input, p2mSize: head.p2mSize } };
}
