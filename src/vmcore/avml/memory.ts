import { viewOf } from "../../binary/layout.js";
import { formatError } from "../../findings/diagnostics.js";
import { absentReasons } from "../../guest/absent.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { PageMap } from "../../guest/page-map.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { crc32c } from "../../io/codecs/crc32c.js";
import { loadDecompressor, type PageDecompressor } from "../../io/codecs/codec.js";
import { FormatError } from "../../findings/errors.js";
import { CHUNK_CHECKSUM, LARGEST_CHUNK } from "./layout.js";
import type { AvmlDump, Chunks } from "./read.js";
import { AVML_RULES } from "./rules.js";

const ABSENT = absentReasons({
  truncated: { kind: "truncated", text: "lost: the file ends before it" },
  damaged: { kind: "damaged", text: "lost: the chunk that holds it is damaged" },
});

/** Unpacked chunks kept. */
const KEPT = 16;

/** Unpacks chunks and checks their sums. */
export class ChunkReader {
  readonly #source: ByteSource;
  readonly #chunks: Chunks;
  readonly #kept = new Map<number, Uint8Array>();
  #decompress: Promise<PageDecompressor> | undefined;

  constructor(source: ByteSource, chunks: Chunks) {
    this.#source = source;
    this.#chunks = chunks;
  }

  /** The contents of a chunk, kept for a while. @throws FormatError `vmcore/avml/checksum` */
  read(chunk: number): Uint8Array | Promise<Uint8Array> {
    return this.#kept.get(chunk) ?? this.#unpack(chunk);
  }

  /** Whether a chunk unpacks to what its checksum says. */
  async isSound(chunk: number): Promise<boolean> {
    try {
      await this.read(chunk);
      return true;
    } catch (error) {
      if (error instanceof FormatError) return false;
      throw error;
    }
  }

  async #unpack(chunk: number): Promise<Uint8Array> {
    const chunks = this.#chunks;
    const offset = chunks.offset(chunk) - CHUNK_CHECKSUM;
    const bytes = new Uint8Array(CHUNK_CHECKSUM + chunks.size(chunk));
    const n = await readFully(this.#source, offset, bytes);
    const data = bytes.subarray(CHUNK_CHECKSUM, n);
    const fail = (message: string): FormatError =>
      formatError(AVML_RULES.checksum, this.#source.name, { offset }, message);
    let contents: Uint8Array = data;
    if (chunks.isCompressed(chunk)) {
      this.#decompress ??= loadDecompressor("snappy");
      const decompress = await this.#decompress;
      try {
        contents = decompress(data, chunks.length(chunk));
      } catch (error) {
        if (error instanceof FormatError) throw fail(`a chunk doesn't unpack: ${error.message}`);
        throw error;
      }
    }
    const sum = masked(crc32c(contents));
    const stated = viewOf(bytes).getUint32(0, true);
    if (sum !== stated)
      throw fail(`a chunk's checksum is 0x${sum.toString(16)}, not 0x${stated.toString(16)}`);
    this.#kept.set(chunk, contents);
    if (this.#kept.size > KEPT)
      for (const oldest of [...this.#kept.keys()].slice(0, 1)) this.#kept.delete(oldest);
    return contents;
  }
}

/** A checksum as framed Snappy data have it. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282_ead8) >>> 0;
}

/** The largest unit, up to a page, that all bounds of blocks and chunks are multiples of. */
function unitOf({ blocks, chunks, damaged = [] }: AvmlDump): number {
  let unit = PAGE_SIZE;
  for (const { start, end } of damaged) while (start % unit !== 0 || end % unit !== 0) unit /= 2;
  for (const { start, end, firstChunk, endChunk } of blocks) {
    while (start % unit !== 0 || end % unit !== 0) unit /= 2;
    let at = start;
    for (let chunk = firstChunk; chunk < endChunk; chunk += 1) {
      at += chunks.length(chunk);
      while (at % unit !== 0) unit /= 2;
    }
  }
  return unit;
}

/** The memory of a dump; of two blocks that overlap, the later one's contents count. */
export function dumpMemory(source: ByteSource, dump: AvmlDump): PageMap {
  const { blocks, chunks, damaged = [] } = dump;
  const unit = unitOf(dump);
  const perChunk = LARGEST_CHUNK / unit;
  if (chunks.count * perChunk > 2 ** 32)
    throw formatError(AVML_RULES.chunk, source.name, { offset: 0 }, "there are too many chunks of odd sizes");
  const reader = new ChunkReader(source, chunks);
  const memory = new PageMap(source, {
    pageSize: unit,
    decode: (token, into) => {
      const at = (token % perChunk) * unit;
      const copy = (contents: Uint8Array): void => into.set(contents.subarray(at, at + unit));
      const contents = reader.read(Math.floor(token / perChunk));
      return contents instanceof Promise ? contents.then(copy) : copy(contents);
    },
  });
  for (const { start, end } of damaged) memory.announce(start / unit, (end - start) / unit, ABSENT.damaged);
  for (const { start, end, there, firstChunk, endChunk } of blocks) {
    if (start + there < end)
      memory.announce((start + there) / unit, (end - start - there) / unit, ABSENT.truncated);
    let frame = start / unit;
    for (let chunk = firstChunk; chunk < endChunk; chunk += 1) {
      const count = chunks.length(chunk) / unit;
      memory.decoded(frame, count, chunk * perChunk);
      frame += count;
    }
  }
  return memory;
}
