import { TSC_MODES } from "../libxc/layout.js";
import { type Diagnostics, StrictDiagnostics } from "../../findings/diagnostics.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { BatchReader } from "./batch.js";
import type { HeaderChunk, LegacyChunk, PvInfoChunk } from "./chunks.js";
import { Cursor } from "./cursor.js";
import type { LegacyHead } from "./head.js";
import { type Claims, readHeader, readPvInfo, readXlHeader } from "./header.js";
import {
  CARRIED_LIMIT,
  CHUNK,
  COMPRESSED_LIMIT,
  chunkName,
  PARAMETER,
  PARAMETER_CHUNKS,
  TSC_INFO,
  VCPU_ID_LIMIT,
} from "./layout.js";
import { LEGACY_RULES } from "./rules.js";
import { type QemuRecord, readHvmTail, readPvTail, readQemuRecord } from "./tail.js";
import { readTmem, readTmemInvalidations } from "./tmem.js";
import { decodeToolstack } from "./toolstack.js";

/** How a legacy stream is read into chunks. */
export interface LegacyReaderOptions extends Claims {
  /** What is known of the QEMU record after an HVM tail; default `detect`: by the chunks before it and the next bytes. */
  readonly qemu?: QemuRecord;
  /** Of a stream whose head is damaged: what is known of it. What is claimed isn't compared with it. */
  readonly head?: LegacyHead;
  /** Takes violations that don't end reading; without it the first error throws and warnings are lost. */
  readonly diagnostics?: Diagnostics;
}

/**
 * A legacy stream as typed chunks.
 *
 * A stream is: [xl header], header, then checkpoints. A checkpoint is a body (chunks up to the id 0), the tail and,
 * from libxl and for HVM, a QEMU record. A body with LAST_CHECKPOINT makes its checkpoint the last; otherwise others
 * follow up to the end of the input, and reading throws where that falls inside one.
 *
 * Contents after a chunk (`dataLength`) may be taken from `cursor` before the next chunk is asked for; what is left
 * is skipped. Streams are read exactly: not one byte beyond the last chunk.
 */
export class LegacyReader {
  readonly cursor: Cursor;
  readonly #options: LegacyReaderOptions;
  readonly #batches = new BatchReader();
  #index = 0;
  #compression = false;

  constructor(input: ByteSource | ByteStream, options: LegacyReaderOptions = {}) {
    this.#options = options;
    const reader = new ByteReader(input, { exact: !isByteSource(input), start: options.head?.first ?? 0 });
    this.cursor = new Cursor(reader, options.diagnostics ?? new StrictDiagnostics(input.name));
  }

  /** @throws FormatError, TruncatedError */
  async *chunks(): AsyncGenerator<LegacyChunk, void, void> {
    const { cursor } = this;
    const { head } = this.#options;
    const xlHeader = head === undefined ? await readXlHeader(cursor) : head.xlHeader;
    if (xlHeader !== undefined) {
      yield xlHeader;
      this.#index = 1;
    } else if (this.#options.xlHeader === true && head === undefined) {
      cursor.fail(LEGACY_RULES.xlHeader, 0, "no xl header");
    }
    const header = head?.header ?? (await readHeader(cursor, this.#options, this.#index++));
    cursor.width = header.width;
    yield header;
    let pv: PvInfoChunk | undefined;
    if (header.guest === "pv") {
      pv = head?.pv ?? (await readPvInfo(cursor, header.p2mSize, this.#index++));
      yield pv;
    }
    for (let number = 1; ; number += 1) {
      const body = new Body();
      yield* this.#body(header, body);
      if (head?.isTailKnown === false)
        cursor.fail(
          LEGACY_RULES.extendedInfo,
          cursor.position,
          "how its tail is made is damaged at its head",
        );
      let last = body.last;
      if (pv === undefined) {
        yield* readHvmTail(cursor, () => this.#index++);
        const required = xlHeader !== undefined || body.toolstack;
        const qemu = await readQemuRecord(
          cursor,
          () => this.#index++,
          this.#options.qemu ?? "detect",
          required,
        );
        if (qemu !== undefined) {
          yield qemu;
          if (qemu.dataLength === undefined) last = true;
          await this.#skipRest(qemu.dataOffset, qemu.dataLength, "QEMU record");
        }
      } else {
        yield* readPvTail(cursor, () => this.#index++, header.p2mSize, pv, body.vcpus);
      }
      // a stream without LAST_CHECKPOINT says nothing of its end: it is where bytes end
      if (!last) last = !(await cursor.reader.need(1));
      yield { kind: "checkpoint", offset: cursor.position, index: this.#index, number, last };
      if (last) return;
      if (body.enablesCompression) this.#compression = true;
    }
  }

  async *#body(header: HeaderChunk, body: Body): AsyncGenerator<LegacyChunk, void, void> {
    const { cursor } = this;
    const seen = new Set<number>();
    for (;;) {
      const offset = cursor.position;
      const index = this.#index++;
      cursor.chunk = { layer: "legacy", index, type: "chunk" };
      const id = await cursor.i32("next chunk");
      const name = chunkName(id);
      if (name === undefined) return cursor.fail(LEGACY_RULES.unknownChunk, offset, `unknown chunk id ${id}`);
      cursor.chunk = { layer: "legacy", index, type: name };
      if (id > 0) {
        const compressed = this.#compression && !body.verify;
        const chunk = await this.#batches.read(cursor, offset, index, id, {
          p2mSize: header.p2mSize,
          guest: header.guest,
          compressed,
          verify: body.verify,
        });
        yield chunk;
        await this.#skipRest(chunk.dataOffset, chunk.dataLength, "page data");
        continue;
      }
      if (id === CHUNK.endOfBody) {
        if (!seen.has(CHUNK.vcpuInfo)) {
          cursor.report(
            LEGACY_RULES.vcpuInfoMissing,
            offset,
            "no vCPU map: vCPU 0 alone is taken, and as online",
          );
        }
        yield { kind: "end-of-body", offset, index, vcpus: body.vcpus, assumed: !seen.has(CHUNK.vcpuInfo) };
        return;
      }
      if (id !== CHUNK.compressedData) {
        if (seen.has(id) && id !== CHUNK.tmemExtra && id !== CHUNK.verifyMode) {
          cursor.report(
            LEGACY_RULES.repeatedChunk,
            offset,
            `a second ${name} in one body: the last one counts`,
          );
        }
        seen.add(id);
      }
      yield* this.#chunk(id, name, offset, index, header, body);
    }
  }

  async *#chunk(
    id: number,
    name: string,
    offset: number,
    index: number,
    header: HeaderChunk,
    body: Body,
  ): AsyncGenerator<LegacyChunk, void, void> {
    const { cursor } = this;
    const parameter = PARAMETER_CHUNKS.get(id);
    if (parameter !== undefined) {
      yield await this.#parameter(id, parameter, offset, index, header);
      return;
    }
    switch (id) {
      case CHUNK.verifyMode:
        body.verify = true;
        yield { kind: "verify-mode", offset, index };
        return;
      case CHUNK.vcpuInfo: {
        const { maxId, online } = await this.#vcpuInfo(offset, header);
        body.vcpus = online;
        yield { kind: "vcpu-info", offset, index, maxId, online };
        return;
      }
      case CHUNK.tmem:
        yield { kind: "tmem", offset, index, pools: await readTmem(cursor) };
        return;
      case CHUNK.tmemExtra:
        yield { kind: "tmem-invalidations", offset, index, count: await readTmemInvalidations(cursor) };
        return;
      case CHUNK.tscInfo: {
        await cursor.need(TSC_INFO.size, "TSC info");
        const tsc = TSC_INFO.read(cursor.reader.view, cursor.reader.at, "little");
        cursor.reader.take(TSC_INFO.size);
        if (TSC_MODES[tsc.mode] === undefined)
          cursor.report(LEGACY_RULES.tscMode, offset + 4, `TSC mode ${tsc.mode}`);
        yield { kind: "tsc-info", offset, index, ...tsc };
        return;
      }
      case CHUNK.lastCheckpoint:
        body.last = true;
        yield { kind: "last-checkpoint", offset, index };
        return;
      case CHUNK.enableCompression:
        body.enablesCompression = true;
        yield { kind: "enable-compression", offset, index };
        return;
      case CHUNK.compressedData: {
        const dataLength = await this.#compressedSize(offset);
        const dataOffset = cursor.position;
        yield { kind: "compressed-data", offset, index, dataLength, dataOffset };
        await this.#skipRest(dataOffset, dataLength, "compressed data");
        return;
      }
      case CHUNK.toolstack: {
        body.toolstack = true;
        const length = await cursor.u32("toolstack chunk");
        if (length > CARRIED_LIMIT)
          cursor.fail(LEGACY_RULES.toolstack, offset, `${length} bytes, at most ${CARRIED_LIMIT}`);
        const at = cursor.position;
        const physmap = decodeToolstack(await cursor.bytes(length, "toolstack chunk"), at, cursor);
        if (header.guest === "pv" && physmap.length > 0) {
          cursor.report(
            LEGACY_RULES.toolstackInPv,
            offset,
            `${physmap.length} physmap entries of a PV guest`,
          );
        }
        yield { kind: "toolstack", offset, index, physmap };
        return;
      }
      default:
        cursor.fail(LEGACY_RULES.unknownChunk, offset, `${name} has no reader`);
    }
  }

  async #parameter(
    id: number,
    { name, index: parameter }: { readonly name: string; readonly index: number },
    offset: number,
    index: number,
    header: HeaderChunk,
  ): Promise<LegacyChunk> {
    const { cursor } = this;
    await cursor.need(PARAMETER.size, "parameter chunk");
    const { pad, value } = PARAMETER.read(cursor.reader.view, cursor.reader.at, "little");
    cursor.reader.take(PARAMETER.size);
    if (header.guest === "pv") cursor.report(LEGACY_RULES.parameterInPv, offset, `${name} in a PV stream`);
    if (pad !== 0) cursor.report(LEGACY_RULES.parameterPad, offset + 4, `padding 0x${pad.toString(16)}`);
    if (value === 0n && id !== ACPI_IOPORTS)
      cursor.report(LEGACY_RULES.parameterZero, offset + 8, `${name} of value 0 is left out`);
    if (id === ACPI_IOPORTS && value > 1n) {
      cursor.report(LEGACY_RULES.acpiLocation, offset + 8, `location ${value} is ignored`);
    }
    return { kind: "parameter", offset, index, name, parameter, value };
  }

  async #vcpuInfo(
    offset: number,
    header: HeaderChunk,
  ): Promise<{ maxId: number; online: readonly number[] }> {
    const { cursor } = this;
    const maxId = await cursor.i32("vCPU info");
    if (maxId < 0 || maxId > VCPU_ID_LIMIT) {
      cursor.fail(
        LEGACY_RULES.vcpuInfo,
        offset + 4,
        `highest vCPU id ${maxId} is not within 0 and ${VCPU_ID_LIMIT}`,
      );
    }
    const words = Math.floor(maxId / 64) + 1;
    const bitmap = await cursor.bytes(8 * words, "vCPU map");
    const online: number[] = [];
    for (let id = 0; id <= maxId; id += 1) {
      if ((((bitmap[id >> 3] ?? 0) >> (id & 7)) & 1) !== 0) online.push(id);
    }
    if (online.length === 0 && header.guest === "pv") {
      cursor.report(LEGACY_RULES.noVcpuOnline, offset, "no vCPU is online");
    }
    return { maxId, online };
  }

  async #compressedSize(offset: number): Promise<number> {
    const { cursor } = this;
    if (!this.#compression) {
      cursor.fail(LEGACY_RULES.compressedEarly, offset, "compressed data before compression is in force");
    }
    let size = 0;
    await cursor.ulongs(1, "compressed data", (words) => {
      size = words[0] ?? 0;
    });
    if (size === 0) cursor.report(LEGACY_RULES.compressedSize, offset + 4, "compressed data of 0 bytes");
    if (size > COMPRESSED_LIMIT) {
      cursor.fail(
        LEGACY_RULES.compressedSize,
        offset + 4,
        `${size} bytes of compressed data, at most ${COMPRESSED_LIMIT}`,
      );
    }
    return size;
  }

  /** Skips what the consumer left of a chunk's contents. */
  async #skipRest(from: number, length: number | undefined, what: string): Promise<void> {
    const taken = this.cursor.position - from;
    if (length === undefined) {
      while (await this.cursor.reader.need(1)) this.cursor.reader.take(this.cursor.reader.available);
    } else if (taken < length) {
      await this.cursor.skip(length - taken, what);
    }
  }
}

const ACPI_IOPORTS = -10;

/** What the chunks of one body say about what follows. */
class Body {
  vcpus: readonly number[] = [0];
  verify = false;
  last = false;
  toolstack = false;
  enablesCompression = false;
}
