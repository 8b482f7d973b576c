import type { Rule } from "../../findings/rule.js";
import { type Diagnostics, formatError } from "../../findings/diagnostics.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource } from "../../io/byte-source.js";
import type { FormatError } from "../../findings/errors.js";
import {
  AVML_MAGIC,
  AVML_VERSION,
  avmlHeader,
  avmlTrailer,
  CHUNK,
  CHUNK_CHECKSUM,
  CHUNK_HEADER,
} from "./layout.js";
import { CHUNK_HEAD, chunkHead } from "./chunk.js";
import { AVML_RULES } from "./rules.js";

/** A block: memory in one piece. */
export interface AvmlBlock {
  /** Guest-physical, half-open. */
  readonly start: number;
  readonly end: number;
  /** Offset in the file of its header. */
  readonly offset: number;
  /** Its chunks: half-open, in the dump's list. */
  readonly firstChunk: number;
  readonly endChunk: number;
  /** Bytes of it that the file has. */
  readonly there: number;
}

/** The chunks of all blocks, as the file has them: one number of each list a chunk. */
export class Chunks {
  /** Offset in the file of the data after the checksum; negative (-1 - offset) where they aren't compressed. */
  readonly #places: number[] = [];
  /** Bytes in the file, and unpacked. */
  readonly #sizes: number[] = [];
  readonly #lengths: number[] = [];

  get count(): number {
    return this.#places.length;
  }

  add(offset: number, size: number, length: number, isCompressed: boolean): void {
    this.#places.push(isCompressed ? offset : -1 - offset);
    this.#sizes.push(size);
    this.#lengths.push(length);
  }

  offset(chunk: number): number {
    const place = this.#places[chunk] ?? 0;
    return place < 0 ? -1 - place : place;
  }

  isCompressed(chunk: number): boolean {
    return (this.#places[chunk] ?? 0) >= 0;
  }

  /** Bytes in the file, without the checksum. */
  size(chunk: number): number {
    return this.#sizes[chunk] ?? 0;
  }

  /** Bytes unpacked. */
  length(chunk: number): number {
    return this.#lengths[chunk] ?? 0;
  }
}

/** A dump's blocks up to the first that can't be read; of a salvaged one all that are left. */
export interface AvmlDump {
  readonly blocks: readonly AvmlBlock[];
  readonly chunks: Chunks;
  /** Why there are no more, if not for the file's end. */
  readonly lost: FormatError | undefined;
  /** Memory whose chunks are damaged: guest-physical, half-open. */
  readonly damaged?: readonly { readonly start: number; readonly end: number }[];
}

/** More than any dump has, in blocks of 16 MiB. */
export const MOST_BLOCKS = 1 << 22;
/** Chunk headers are far apart: little is read at a time. */
const WINDOW = 4096;
/** Reads the headers of blocks and chunks; trailers that are wrong go to `diagnostics`. No contents are read. */
export async function readDump(input: ByteSource, diagnostics: Diagnostics): Promise<AvmlDump> {
  const reader = new ByteReader(input, { window: WINDOW });
  const blocks: AvmlBlock[] = [];
  const chunks = new Chunks();
  const lost = (rule: Rule, offset: number, message: string): AvmlDump => ({
    blocks,
    chunks,
    lost: formatError(rule, input.name, { offset }, message),
  });
  while (await reader.need(1)) {
    const offset = reader.position;
    const isWhole = await reader.need(avmlHeader.size);
    const problem =
      blocks.length === MOST_BLOCKS ? "there are too many blocks" : headerProblem(reader, isWhole);
    if (problem !== undefined) return lost(AVML_RULES.header, offset, problem);
    const start = Number(reader.view.getBigUint64(reader.at + avmlHeader.offsetOf("start"), true));
    const end = Number(reader.view.getBigUint64(reader.at + avmlHeader.offsetOf("end"), true)) + 1;
    await reader.skip(avmlHeader.size);
    const firstChunk = chunks.count;
    const dataStart = reader.position;
    const { there, broken } = await readChunks(reader, end - start, chunks);
    blocks.push({ start, end, offset, firstChunk, endChunk: chunks.count, there });
    if (broken !== undefined) return lost(AVML_RULES[broken.rule], broken.offset, broken.message);
    const packed = reader.position - dataStart;
    if (!(await reader.need(avmlTrailer.size)))
      return lost(AVML_RULES.truncated, reader.position, "the file ends within the number after a block");
    const trailer = reader.view.getBigUint64(reader.at, true);
    if (trailer !== BigInt(end - start) && trailer !== BigInt(packed))
      diagnostics.report(
        AVML_RULES.trailer,
        { offset: reader.position },
        `the block at 0x${start.toString(16)} has 0x${(end - start).toString(16)} bytes, after it comes 0x${trailer.toString(16)}`,
      );
    await reader.skip(avmlTrailer.size);
  }
  if (blocks.length === 0) return lost(AVML_RULES.header, 0, "there is no block");
  return { blocks, chunks, lost: undefined };
}

function headerProblem(reader: ByteReader, isWhole: boolean): string | undefined {
  if (!isWhole)
    return `the file ends ${avmlHeader.size - reader.available} bytes before a block's header does`;
  const { view, at } = reader;
  const magic = view.getUint32(at, true);
  if (magic !== AVML_MAGIC) return `no block begins here, but 0x${magic.toString(16)}`;
  const version = view.getUint32(at + avmlHeader.offsetOf("version"), true);
  if (version !== AVML_VERSION) return `version ${version} of the format is not known`;
  const start = view.getBigUint64(at + avmlHeader.offsetOf("start"), true);
  const last = view.getBigUint64(at + avmlHeader.offsetOf("end"), true);
  if (start <= last && last < BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return `no memory has addresses 0x${start.toString(16)} to 0x${last.toString(16)}`;
}

interface ReadChunks {
  /** Bytes of the block that the file has. */
  readonly there: number;
  readonly broken?: {
    readonly rule: "chunk" | "truncated";
    readonly offset: number;
    readonly message: string;
  };
}

/** Reads the chunks of a block of `size` bytes. */
async function readChunks(reader: ByteReader, size: number, chunks: Chunks): Promise<ReadChunks> {
  let there = 0;
  while (there < size) {
    const offset = reader.position;
    const broken = (rule: "chunk" | "truncated", message: string): ReadChunks => ({
      there,
      broken: {
        rule,
        offset,
        message: `${message}; the block has 0x${there.toString(16)} of 0x${size.toString(16)} bytes`,
      },
    });
    if (!(await reader.need(CHUNK_HEADER))) return broken("truncated", "the file ends before a chunk");
    await reader.need(CHUNK_HEAD);
    const head = chunkHead(reader.peek(CHUNK_HEAD));
    if (typeof head === "string") return broken("chunk", head);
    const { kind, packed, length } = head;
    await reader.skip(CHUNK_HEADER);
    if (length > 0) {
      if (length > size - there)
        return broken("chunk", `a chunk of 0x${length.toString(16)} bytes goes beyond the block`);
      if ((await reader.skip(packed)) < packed) return broken("truncated", "the file ends within a chunk");
      const dataOffset = offset + CHUNK_HEADER + CHUNK_CHECKSUM;
      chunks.add(dataOffset, packed - CHUNK_CHECKSUM, length, kind === CHUNK.compressed);
      there += length;
    } else if ((await reader.skip(packed)) < packed)
      return broken("truncated", "the file ends within a chunk");
  }
  return { there };
}
