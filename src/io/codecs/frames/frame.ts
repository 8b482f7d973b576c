import { type ByteSource, type ByteStream, readFully, sliceSource, streamOf } from "../../byte-source.js";
import { indexOfBytes } from "../../byte-search.js";
import { yieldToEventLoop } from "../../event-loop.js";

/** A part of packed data that unpacks without what is before it: a frame, a block, a member; or what is left of some. */
export interface Frame {
  /** Offset in the packed data. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Bytes that it unpacks to, where the packed data say so more than once. */
  readonly size?: number | undefined;
  /** Whether this is exactly one of the frames that all unpack to the same number of bytes, but for the last. */
  readonly isUsual?: boolean;
  /** What its codec unpacks, as a stream that is whole in itself; undefined where its start is damaged. */
  readonly open?: () => ByteStream;
  /** What the format makes of such frames, where there are too few to tell. */
  readonly nominal?: number;
  /** Whether a checksum proves what it unpacks to; default true. */
  readonly isChecked?: boolean;
  /** Whether what comes before an error is proven, each piece by its own checksum. */
  readonly givesProven?: boolean;
  /** Where it doesn't unpack: parts of it that may by themselves. */
  readonly parts?: () => AsyncIterable<Frame>;
  /** The same without its checksum: what it unpacks to is then as long as it should be, though it may be wrong. */
  readonly openUnchecked?: () => ByteStream;
}

/** Finds the frames of packed data by their headers, in order and without gaps; no contents are unpacked. */
export type FrameWalk = (packed: PackedBytes) => AsyncIterable<Frame>;

/** All of the data as one: the compression has no parts that unpack by themselves. */
export const oneFrame: FrameWalk = async function* walk(packed) {
  yield { start: 0, end: packed.size, open: () => packed.stream(0, packed.size) };
};

const BLOCK = 64 << 10;
const SEARCH = 1 << 20;
/** Places at which a frame seems to begin, and none does: bounds the time that a hostile input takes. */
const MOST_MISSES = 1 << 16;

/** Packed data at any offset; headers are read by the block. */
export class PackedBytes {
  readonly source: ByteSource;
  readonly #block = new Uint8Array(BLOCK);
  #start = 0;
  #length = 0;
  #misses = 0;

  constructor(source: ByteSource) {
    this.source = source;
  }

  get size(): number {
    return this.source.size;
  }

  /** The bytes [offset, offset + length), at most 64 KiB, valid until the next call; fewer at the end. */
  async at(offset: number, length: number): Promise<Uint8Array> {
    const within = offset - this.#start;
    if (within < 0 || within + length > this.#length) {
      // a walk over headers mostly goes forward by less than a block, or by much more
      const ahead = within >= 0 && within < 2 * BLOCK ? BLOCK : 4096;
      const size = Math.min(BLOCK, Math.max(length, ahead));
      this.#length = await readFully(this.source, offset, this.#block.subarray(0, size));
      this.#start = offset;
    }
    return this.#block.subarray(offset - this.#start, Math.min(offset - this.#start + length, this.#length));
  }

  /** A copy of the bytes [offset, offset + length), however many; fewer at the end. */
  async bytes(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    return bytes.subarray(0, await readFully(this.source, offset, bytes));
  }

  /** The first offset from `from` on at which one of some patterns is, and which `accepts`. */
  async find(
    patterns: readonly Uint8Array[],
    from: number,
    accepts: (offset: number) => Promise<boolean>,
  ): Promise<number | undefined> {
    const most = patterns.reduce((length, pattern) => Math.max(length, pattern.length), 1);
    const bytes = new Uint8Array(SEARCH + most - 1);
    for (let start = from; start < this.size; start += SEARCH) {
      const n = await readFully(this.source, start, bytes);
      const view = bytes.subarray(0, n);
      const next = patterns.map((pattern) => indexOfBytes(view, pattern, 0));
      for (;;) {
        const found = next.reduce((least, at) => (at >= 0 && at < least ? at : least), SEARCH);
        if (found === SEARCH) break;
        if (await accepts(start + found)) return start + found;
        this.#misses += 1;
        if (this.#misses > MOST_MISSES) return undefined;
        for (const [i, pattern] of patterns.entries())
          if (next[i] === found) next[i] = indexOfBytes(view, pattern, found + 1);
      }
      await yieldToEventLoop();
    }
    return undefined;
  }

  /** A part as a stream, with bytes around it that make it whole. */
  stream(start: number, end: number, before?: Uint8Array, after?: Uint8Array): ByteStream {
    const part = streamOf(sliceSource(this.source, start, end - start));
    return before === undefined && after === undefined ? part : enclosed(part, before, after);
  }
}

/** A stream with other bytes before and after its own. */
function enclosed(stream: ByteStream, before: Uint8Array = NONE, after: Uint8Array = NONE): ByteStream {
  const pieces = [before, stream, after];
  let at = 0;
  return {
    name: stream.name,
    async read(into) {
      for (let piece = pieces[0]; piece !== undefined; piece = pieces[0]) {
        if (piece instanceof Uint8Array) {
          const part = piece.subarray(at, at + into.length);
          into.set(part);
          at += part.length;
          if (part.length > 0) return part.length;
        } else {
          const n = await piece.read(into);
          if (n > 0) return n;
        }
        pieces.shift();
        at = 0;
      }
      return 0;
    },
  };
}

const NONE = new Uint8Array(0);
