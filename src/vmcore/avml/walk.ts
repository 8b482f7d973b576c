import { viewOf } from "../../binary/layout.js";
import type { Resumption } from "../../guest/salvage.js";
import { Resynchronizer } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { rangeOf } from "../dump-range.js";
import { CHUNK_HEAD, chunkHead } from "./chunk.js";
import { AVML_MAGIC, AVML_VERSION, avmlHeader, avmlTrailer, CHUNK, CHUNK_HEADER } from "./layout.js";

/** A chunk of a damaged dump. */
export interface WalkedChunk {
  /** Offset of its header. */
  readonly offset: number;
  /** Offset of what follows it. */
  readonly next: number;
  readonly kind: number;
  /** Bytes that it unpacks to; 0: it holds none. */
  readonly length: number;
}

/** Chunks in a row, each of which unpacks to what its checksum says. */
export interface Run {
  readonly chunks: readonly WalkedChunk[];
  /** Bytes that they unpack to. */
  readonly length: number;
}

/** The chunks of a block that are sound. */
export interface WalkedBlock {
  /** Those from its start on; undefined: what it begins with is damaged. */
  readonly front: Run | undefined;
  /** Those up to its end, where they are others; undefined: its end wasn't found. */
  readonly back: Run | undefined;
  /** Offset of the next block's header, or of what may be one. */
  readonly next: number;
  /** Whether the block's end is there. */
  readonly isEnded: boolean;
  /** The number after the block. */
  readonly trailer: number;
  /** Bytes of the file between the runs, and how many chunks or headers prove where reading goes on. */
  readonly lost: { readonly start: number; readonly end: number; readonly proof: number } | undefined;
}

/** Chunks, or a header and chunks, that prove a place. */
const PROOF = 3;
/** More than Snappy makes of a chunk's contents. */
const LARGEST_PACKED = 0x1_4000;
const MAGIC = new TextEncoder().encode("AVML");
/** Bounds the time that a hostile input takes. */
const MOST_PROVED = 1 << 24;

/** Walks over a damaged dump. */
export class AvmlWalk {
  readonly #input: ByteSource;
  readonly #isSound: (chunk: WalkedChunk) => Promise<boolean>;
  readonly #head = new Uint8Array(avmlHeader.size);
  readonly #finder: Resynchronizer;
  /** Chunks that were walked over to prove headers. */
  #proved = 0;

  /** @param isSound whether a chunk unpacks to what its checksum says */
  constructor(input: ByteSource, isSound: (chunk: WalkedChunk) => Promise<boolean>) {
    this.#input = input;
    this.#isSound = isSound;
    this.#finder = new Resynchronizer(input, {
      step: 1,
      head: CHUNK_HEAD,
      isLikely: (view, at) => {
        const word = view.getUint32(at, true);
        if (word === AVML_MAGIC) return true;
        // compressed or as it is: others begin no run
        if ((word & 0xfe) !== 0 || word >>> 8 > LARGEST_PACKED) return false;
        return typeof chunkHead(new Uint8Array(view.buffer, view.byteOffset + at, CHUNK_HEAD)) !== "string";
      },
      proof: (offset) => this.proof(offset),
    });
  }

  /** Addresses of the header at an offset. @param isLenient the addresses alone count */
  async header(offset: number, isLenient = false): Promise<{ start: number; end: number } | undefined> {
    if ((await readBefore(this.#input, offset, this.#head)) < this.#head.length) return undefined;
    const view = viewOf(this.#head);
    const isMarked = view.getUint32(0, true) === AVML_MAGIC && view.getUint32(4, true) === AVML_VERSION;
    if (!isMarked && !isLenient) return undefined;
    const start = view.getBigUint64(avmlHeader.offsetOf("start"), true);
    const last = view.getBigUint64(avmlHeader.offsetOf("end"), true);
    return rangeOf(start, last);
  }

  /** The chunk at an offset; undefined: none can be there. */
  async chunk(offset: number): Promise<WalkedChunk | undefined> {
    const bytes = new Uint8Array(CHUNK_HEAD);
    const n = await readBefore(this.#input, offset, bytes);
    if (n < CHUNK_HEADER) return undefined;
    const head = chunkHead(bytes.subarray(0, n));
    if (typeof head === "string") return undefined;
    const next = offset + CHUNK_HEADER + head.packed;
    return next > this.#input.size ? undefined : { offset, next, kind: head.kind, length: head.length };
  }

  /** How many parts of a dump in a row begin at an offset: chunks, or a header and those of all of its block; 0: too few. */
  async proof(offset: number): Promise<number> {
    const header = await this.header(offset);
    if (header === undefined) return this.#chunksAt(offset);
    // a piece of another place may have a header, and not all of its block
    const data = offset + avmlHeader.size;
    const block = await this.plain(data, header.end - header.start, MOST_PROVED - this.#proved);
    const chunks = block?.run.chunks ?? [];
    this.#proved += 1 + chunks.length;
    const [first] = chunks;
    return first !== undefined && (await this.#isSound(first)) ? 1 + chunks.length : 0;
  }

  /** Sound chunks in a row: PROOF of them, or fewer up to a block's end. */
  async #chunksAt(offset: number): Promise<number> {
    let at = offset;
    for (let count = 0; count < PROOF; count += 1) {
      const chunk = await this.chunk(at);
      if (chunk === undefined) return count > 0 && (await this.isEnd(at)) ? count : 0;
      if (chunk.length === 0 || !(await this.#isSound(chunk))) return 0;
      at = chunk.next;
    }
    return PROOF;
  }

  /** The number after a block; undefined where the input ends within it. */
  async trailer(offset: number): Promise<number | undefined> {
    const bytes = new Uint8Array(avmlTrailer.size);
    if ((await readBefore(this.#input, offset, bytes)) < bytes.length) return undefined;
    return Number(viewOf(bytes).getBigUint64(0, true));
  }

  /** Whether a block can end at an offset: a number, and a header or the input's end after it. */
  async isEnd(offset: number): Promise<boolean> {
    const next = offset + avmlTrailer.size;
    return next === this.#input.size || (await this.header(next)) !== undefined;
  }

  async #isProvenEnd(offset: number): Promise<boolean> {
    const next = offset + avmlTrailer.size;
    return (
      next === this.#input.size || ((await this.header(next)) !== undefined && (await this.proof(next)) > 0)
    );
  }

  /** The next header or chunk from an offset on that is proven. */
  resume(from: number, end?: number): Promise<Resumption | undefined> {
    return this.#finder.resume(from, end);
  }

  /** Whether a header that is proven begins before an offset. */
  async hasHeader(end: number): Promise<boolean> {
    const finder = new Resynchronizer(this.#input, {
      step: 1,
      head: 8,
      magic: MAGIC,
      isLikely: (view, at) => view.getUint32(at + 4, true) === AVML_VERSION,
      proof: (offset) => this.proof(offset),
    });
    return (await finder.resume(0, Math.min(end, this.#input.size))) !== undefined;
  }

  /** Walks over the chunks of a block without a look at their contents; undefined: they don't fit, or its end isn't there. */
  async plain(
    start: number,
    size: number,
    most = Number.POSITIVE_INFINITY,
  ): Promise<{ run: Run; next: number } | undefined> {
    const chunks: WalkedChunk[] = [];
    let length = 0;
    let at = start;
    while (length < size) {
      const chunk = await this.chunk(at);
      if (chunk === undefined || length + chunk.length > size || chunks.length >= most) return undefined;
      if (chunk.length > 0) chunks.push(chunk);
      length += chunk.length;
      at = chunk.next;
    }
    const trailer = await this.trailer(at);
    const isStated = trailer === size || trailer === at - start;
    return isStated || (await this.isEnd(at))
      ? { run: { chunks, length }, next: at + avmlTrailer.size }
      : undefined;
  }

  /** Walks over the chunks of a block, each of which is unpacked, and over damage among them. */
  async careful(start: number): Promise<WalkedBlock> {
    const { size } = this.#input;
    let front: Run | undefined;
    let chunks: WalkedChunk[] = [];
    let length = 0;
    let lost: { start: number; end: number; proof: number } | undefined;
    const close = (): void => {
      if (lost === undefined) front = { chunks, length };
      chunks = [];
      length = 0;
    };
    const ended = (next: number, isEnded: boolean, trailer = 0): WalkedBlock => {
      const back = isEnded && lost !== undefined ? { chunks, length } : undefined;
      if (lost === undefined) close();
      return { front, back, next, isEnded, trailer, lost };
    };
    for (let at = start; ; ) {
      const chunk = await this.chunk(at);
      if (chunk !== undefined && chunk.length > 0 && (await this.#isSound(chunk))) {
        chunks.push(chunk);
        length += chunk.length;
        at = chunk.next;
        continue;
      }
      if (chunk?.kind === CHUNK.streamIdentifier && at === start) {
        at = chunk.next;
        continue;
      }
      const trailer = await this.trailer(at);
      if (trailer !== undefined && length > 0 && (await this.#isProvenEnd(at)))
        return ended(at + avmlTrailer.size, true, trailer);
      const found = await this.resume(at + 1);
      const next = found?.at ?? size;
      close();
      lost = { start: lost?.start ?? at, end: next, proof: found?.proof ?? 0 };
      // what is there has all of its block, if it is a header
      if (found === undefined || (await this.header(next)) !== undefined) return ended(next, false);
      at = next;
    }
  }
}
