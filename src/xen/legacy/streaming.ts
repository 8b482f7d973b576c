import type { FormatError } from "../../findings/errors.js";
import { UsageError } from "../../findings/errors.js";
import { bytesSource } from "../../io/byte-source.js";
import type { OpenSpool } from "../../io/spool.js";
import { BlobStore } from "./blob-store.js";
import { checkIoreqServer, checkTmem, reportTmem } from "./checks.js";
import type {
  HvmTailChunk,
  LegacyChunk,
  PagesChunk,
  QemuChunk,
  TmemChunk,
  VcpuChunk,
  VerifyModeChunk,
} from "./chunks.js";
import type { Cursor } from "./cursor.js";
import type { CheckpointDiagnostics } from "./diagnostics.js";
import type { StreamEmitter, Target } from "./emit.js";
import { type FoldPolicy, StreamFold } from "./fold.js";
import { hasData, PAGE, TYPE } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";

/** How a stream is converted while it is read. */
export interface StreamingOptions {
  readonly allowLoss: boolean;
  readonly keepQemuRecord: boolean;
  readonly openSpool: OpenSpool;
}

/** What is known of contents that were passed on. */
interface PassedOn {
  /** In bytes. */
  readonly length: number;
}

/** QEMU's state that was passed on. */
interface PassedEmulator extends PassedOn {
  readonly signature: string;
}

/**
 * Converts a plain HVM stream while it is read: one checkpoint, each pfn sent once. Such a stream differs from a live
 * one (which may be checkpointed) by its TSC info, which is before the pages.
 */
export class StreamingConverter implements FoldPolicy<PassedOn, PassedEmulator, never> {
  readonly fold: StreamFold<PassedOn, PassedEmulator, never>;
  readonly #cursor: Cursor;
  readonly #diagnostics: CheckpointDiagnostics;
  readonly #emitter: StreamEmitter;
  readonly #target: Target;
  readonly #options: StreamingOptions;
  #started = false;
  #libxcEnded = false;

  constructor(
    cursor: Cursor,
    diagnostics: CheckpointDiagnostics,
    emitter: StreamEmitter,
    target: Target,
    options: StreamingOptions,
  ) {
    this.#cursor = cursor;
    this.#diagnostics = diagnostics;
    this.#emitter = emitter;
    this.#target = target;
    this.#options = options;
    this.fold = new StreamFold(cursor, this);
  }

  /** Complete checkpoints so far. */
  get checkpoints(): number {
    return this.fold.checkpoints;
  }

  /** Takes the next chunk. @throws UsageError the stream goes on after its first checkpoint, FormatError */
  async take(chunk: LegacyChunk): Promise<void> {
    if (this.checkpoints > 0) {
      // nothing more can be taken back or put in order: half of a later state would be wrong
      throw new UsageError(
        "the stream began like a plain one but goes on after its first checkpoint: convert it from a file",
        { source: this.#cursor.reader.name, offset: chunk.offset },
      );
    }
    await this.fold.take(chunk);
  }

  async pages({ entries }: PagesChunk): Promise<void> {
    await this.#start();
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

  async verifyPages(): Promise<void> {
    await this.#start();
  }

  /** Compression is in force from the second checkpoint on, which isn't taken. */
  async group(): Promise<void> {}

  tmem(chunk: TmemChunk): void {
    checkTmem(this.#cursor.reader.name, chunk, this.#options.allowLoss);
  }

  verifyMode({ offset }: VerifyModeChunk): void {
    this.#cursor.report(LEGACY_RULES.verifyNotCompared, offset, "pages of the verify pass are dropped");
  }

  async endOfBody(): Promise<void> {
    await this.#start();
    await this.#emitter.tsc(this.fold.current.tsc);
  }

  async hvmContext({ offset, dataLength, dataOffset }: HvmTailChunk): Promise<PassedOn> {
    const { parameters } = this.fold.current;
    checkIoreqServer(this.#cursor, parameters, offset);
    await this.#emitter.parameters(parameters);
    const context = await this.#cursor.bytes(dataLength, "HVM context");
    await this.#cursor.hvmContext(dataOffset, context);
    await this.#emitter.hvmContext({ source: bytesSource(context), offset: 0, length: dataLength });
    return { length: dataLength };
  }

  async emulator({ signature, dataLength }: QemuChunk): Promise<PassedEmulator> {
    const emitter = this.#emitter;
    const cursor = this.#cursor;
    const keeps = this.#target.format !== "libxc" || this.#options.keepQemuRecord;
    await this.#endOfLibxc();
    // without a length the data run to the end of the input: they are kept to learn it
    const blobs = new BlobStore(undefined, this.#options.openSpool);
    try {
      const from =
        dataLength === undefined
          ? await blobs.keep(cursor, undefined, "QEMU record")
          : { cursor, length: dataLength };
      if (keeps) {
        if (this.#target.format === "libxc") await emitter.legacyQemuRecord(signature, from);
        else await emitter.emulator(from);
      }
      return { signature, length: from.length };
    } finally {
      blobs.close();
    }
  }

  vcpu({ offset }: VcpuChunk): Promise<never> {
    return this.#cursor.fail(
      LEGACY_RULES.contradiction,
      offset,
      "state of a PV guest's vCPU in an HVM stream",
    );
  }

  async commit(): Promise<void> {
    this.#diagnostics.commit();
  }

  async #start(): Promise<void> {
    const { header, xlHeader } = this.fold;
    if (this.#started || header === undefined) return;
    this.#started = true;
    await this.#emitter.start(header, undefined, xlHeader);
  }

  async #endOfLibxc(): Promise<void> {
    if (this.#libxcEnded) return;
    this.#libxcEnded = true;
    await this.#emitter.endOfLibxc();
    if (this.#target.format !== "libxc") await this.#emitter.physmap(this.fold.current.physmap);
  }

  /** Drops what follows the checkpoint, since it can't be read for `reason`. @throws FormatError when strict */
  drop(reason: FormatError): void {
    this.fold.drop(reason, this.#diagnostics);
  }

  /** Ends the output; every chunk was taken. */
  async finish(): Promise<void> {
    reportTmem(this.#cursor, this.fold.tmem);
    this.#diagnostics.commit();
    await this.#endOfLibxc();
    if (this.#target.format !== "libxc") await this.#emitter.endOfLibxl();
  }
}
