import { viewOf } from "../../binary/layout.js";
import type { ByteSink } from "../../io/byte-sink.js";
import { readFully } from "../../io/byte-source.js";
import { AbsentError } from "../../findings/errors.js";
import { LIBXC_RECORD } from "../libxc/layout.js";
import {
  hvmParamsRecord,
  PageDataWriter,
  p2mFramesRecord,
  padding,
  pvInfoRecord,
  record,
  recordStart,
  type StreamVersion,
  streamHeaders,
  tscInfoRecord,
  vcpuRecord,
} from "../libxc/write.js";
import { LIBXL_RECORD } from "../libxl/layout.js";
import { convertedStreamStart, libxlEndRecord, unknownEmulator, xenstoreDataRecord } from "../libxl/write.js";
import { emptyXlHeader, upgradedXlHeader } from "../xl/write.js";
import type { HeaderChunk, PvInfoChunk, TscInfoChunk, XlHeaderChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import { hasData, PAGE, QEMU_SIGNATURES, TYPE, VCPU_FLAGS_OFFSET, VCPU_ONLINE } from "./layout.js";
import type { CheckpointState, LegacyState } from "./final-state.js";
import type { PageRun } from "./page-store.js";
import type { SourceRange } from "./blob-store.js";
import { LEGACY_RULES } from "./rules.js";
import type { PhysmapEntry } from "../libxl/write.js";
import { latin1Bytes } from "../../binary/layout.js";

/** The outermost layer of an output. */
export type OutputFormat = "libxc" | "libxl" | "xl";

/** What is written: version of the libxc stream and outermost layer. */
export interface Target {
  readonly version: StreamVersion;
  readonly format: OutputFormat;
}

/** Pages that were written, by what they hold. */
export interface WrittenPages {
  contents: number;
  /** Allocated, without contents. */
  allocated: number;
  broken: number;
}

const PIECE = 1 << 20;

/** Writes a new stream piece by piece; the order of the calls is the order of the stream. */
export class StreamEmitter {
  readonly writer: PageDataWriter;
  readonly written: WrittenPages = { contents: 0, allocated: 0, broken: 0 };
  readonly #target: Target;

  constructor(sink: ByteSink, target: Target) {
    this.#target = target;
    this.writer = new PageDataWriter(sink);
  }

  /** Headers of all layers, and what comes before the pages. */
  async start(
    header: HeaderChunk,
    pv: PvInfoChunk | undefined,
    xlHeader: XlHeaderChunk | undefined,
  ): Promise<void> {
    const { format, version } = this.#target;
    const { writer } = this;
    if (format === "xl") {
      await writer.write(xlHeader === undefined ? emptyXlHeader() : upgradedXlHeader(xlHeader.bytes));
    }
    if (format !== "libxc") await writer.write(convertedStreamStart());
    await writer.write(streamHeaders(pv === undefined ? "x86Hvm" : "x86Pv", version));
    if (pv !== undefined) await writer.write(pvInfoRecord(pv.guestWidth, pv.levels));
    if (version === 3) await writer.write(record(LIBXC_RECORD.STATIC_DATA_END));
    if (pv?.p2mFrames !== undefined) await writer.write(p2mFramesRecord(header.p2mSize - 1, pv.p2mFrames));
  }

  /** Adds an entry to the PAGE_DATA record in hand. */
  entry(type: number, pfn: number): void {
    if (hasData(type)) this.written.contents += 1;
    else if (type === TYPE.broken) this.written.broken += 1;
    else this.written.allocated += 1;
    this.writer.entry(type, pfn);
  }

  /** Writes pages whose contents are in a source. */
  async run(run: PageRun): Promise<void> {
    for (let done = 0; done < run.count; ) {
      const count = Math.min(run.count - done, this.writer.room);
      for (let i = 0; i < count; i += 1) this.entry(run.type, run.pfn + done + i);
      if (run.source !== undefined) {
        await readExactly(
          { source: run.source, offset: run.offset + done * PAGE, length: count * PAGE },
          0,
          this.writer.contents(count),
        );
      }
      done += count;
      await this.writer.endIfFull();
    }
  }

  async tsc(tsc: TscInfoChunk | undefined): Promise<void> {
    if (tsc !== undefined) await this.writer.write(tscInfoRecord(tsc));
  }

  async parameters(parameters: ReadonlyMap<number, bigint>): Promise<void> {
    if (parameters.size > 0) await this.writer.write(hvmParamsRecord(parameters));
  }

  /** A record whose body is `prefix` and bytes of a source, or those that come next at a cursor. */
  async bulk(
    type: number,
    prefix: Uint8Array,
    from: SourceRange | { cursor: Cursor; length: number },
  ): Promise<void> {
    await this.writer.write(recordStart(type, prefix.length + from.length));
    await this.writer.write(prefix);
    await this.bytes(from);
    await this.writer.write(padding(prefix.length + from.length));
  }

  async bytes(from: SourceRange | { cursor: Cursor; length: number }): Promise<void> {
    const piece = new Uint8Array(Math.min(from.length, PIECE));
    for (let done = 0; done < from.length; ) {
      const part = piece.subarray(0, Math.min(piece.length, from.length - done));
      if ("cursor" in from) await from.cursor.fill(part, "state");
      else await readExactly(from, done, part);
      await this.writer.write(part);
      done += part.length;
    }
  }

  async hvmContext(from: SourceRange | { cursor: Cursor; length: number }): Promise<void> {
    await this.bulk(LIBXC_RECORD.HVM_CONTEXT, new Uint8Array(0), from);
  }

  async endOfLibxc(): Promise<void> {
    await this.writer.write(record(LIBXC_RECORD.END));
  }

  async physmap(physmap: readonly PhysmapEntry[]): Promise<void> {
    if (physmap.length > 0) await this.writer.write(xenstoreDataRecord(physmap));
  }

  async emulator(from: SourceRange | { cursor: Cursor; length: number }): Promise<void> {
    await this.bulk(LIBXL_RECORD.EMULATOR_CONTEXT, unknownEmulator(), from);
  }

  async endOfLibxl(): Promise<void> {
    await this.writer.write(libxlEndRecord());
  }

  /** The QEMU record as the legacy stream had it. */
  async legacyQemuRecord(
    signature: string,
    from: SourceRange | { cursor: Cursor; length: number },
  ): Promise<void> {
    await this.writer.write(latin1Bytes(signature));
    if (QEMU_SIGNATURES.get(signature)?.sized === true) {
      const length = new Uint8Array(4);
      viewOf(length).setUint32(0, from.length, true);
      await this.writer.write(length);
    }
    await this.bytes(from);
  }
}

async function readExactly(from: SourceRange, at: number, into: Uint8Array): Promise<void> {
  const read = from.source.read(from.offset + at, into);
  let done = read instanceof Promise ? await read : read;
  if (done < into.length) done += await readFully(from.source, from.offset + at + done, into.subarray(done));
  if (done === into.length) return;
  throw new AbsentError(
    LEGACY_RULES.inputChanged,
    "the input ended before contents that it held a moment ago",
    {
      source: from.source.name,
      offset: from.offset + at,
    },
  );
}

async function emitVcpus(emitter: StreamEmitter, state: CheckpointState): Promise<void> {
  const bytes = async (range: SourceRange): Promise<Uint8Array> => {
    const bytes = new Uint8Array(range.length);
    await readExactly(range, 0, bytes);
    return bytes;
  };
  for (const { id, context, extended, xsave } of state.vcpus) {
    const basic = await bytes(context);
    if (state.vcpuAssumed) {
      const view = viewOf(basic);
      view.setUint32(VCPU_FLAGS_OFFSET, view.getUint32(VCPU_FLAGS_OFFSET, true) | VCPU_ONLINE, true);
    }
    await emitter.writer.write(vcpuRecord("X86_PV_VCPU_BASIC", id, basic));
    if (extended !== undefined) {
      await emitter.writer.write(vcpuRecord("X86_PV_VCPU_EXTENDED", id, await bytes(extended)));
    }
    if (xsave !== undefined) {
      await emitter.writer.write(vcpuRecord("X86_PV_VCPU_XSAVE", id, await bytes(xsave)));
    }
  }
  await emitter.writer.write(record(LIBXC_RECORD.SHARED_INFO, state.sharedInfo ?? new Uint8Array(PAGE)));
}

/** Writes a state that is complete: each page once, ascending by pfn. */
export async function emitState(
  emitter: StreamEmitter,
  state: LegacyState,
  target: Target,
  options: {
    readonly keepQemuRecord: boolean;
    readonly progress?: (pages: number) => void;
  },
): Promise<void> {
  await emitter.start(state.header, state.pv, state.xlHeader);
  for (const run of state.runs()) {
    await emitter.run(run);
    options.progress?.(emitter.written.contents);
  }
  await emitter.tsc(state.tsc);
  if (state.pv === undefined) {
    await emitter.parameters(state.parameters);
    if (state.hvmContext !== undefined) await emitter.hvmContext(state.hvmContext);
  } else {
    await emitVcpus(emitter, state);
  }
  await emitter.endOfLibxc();
  const { emulator } = state;
  if (target.format === "libxc") {
    if (emulator !== undefined && options.keepQemuRecord) {
      await emitter.legacyQemuRecord(emulator.signature, emulator);
    }
    return;
  }
  if (state.pv === undefined) {
    await emitter.physmap(state.physmap);
    if (emulator !== undefined) await emitter.emulator(emulator);
  }
  await emitter.endOfLibxl();
}
