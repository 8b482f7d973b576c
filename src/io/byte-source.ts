import type { Rule } from "../findings/rule.js";

/** A value at hand, or a promise of it: hot paths stay synchronous, callers check `instanceof Promise`. */
export type MaybePromise<T> = T | Promise<T>;

/** Bytes from `offset` on of a file that this process has open, for another of its threads to read. */
export interface FilePlace {
  readonly fd: number;
  readonly offset: number;
}

/** What a source was unpacked from. */
export interface Packed {
  /** `gzip`, `xz` … */
  readonly compression: string;
  /** Why it isn't whole; undefined where it is. */
  readonly tear?: Tear | undefined;
  /** What is lost in its middle, ascending: frames of the packed data that don't unpack. Undefined: nothing. */
  readonly lost?: readonly LostBytes[] | undefined;
  /** What was unpacked of such frames without a checksum that proves it, ascending. */
  readonly doubtful?: readonly DoubtfulBytes[] | undefined;
}

/** Where packed data broke off: a source holds what was unpacked before. */
export interface Tear {
  /** The codec's rule. */
  readonly rule: Rule;
  /** What was seen, in a sentence without its end. */
  readonly message: string;
  /** The packed data just end; else they are damaged, and the bytes unpacked last may be wrong. */
  readonly isCut: boolean;
  /** Offset in the packed input at which they end, or near which they are damaged. */
  readonly packedOffset: number;
}

/** Bytes of an input that can't be read, because the packed data that held them are damaged. */
export interface LostBytes {
  /** Offset of the first in what the packed input unpacks to. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** The codec's rule. */
  readonly rule: Rule;
  /** What was seen, in a sentence without its end. */
  readonly message: string;
  /**
   * Whether the packed data say how many bytes these are. Else `end` is further away than any record is long: offsets
   * from there on say nothing but the order of bytes.
   */
  readonly isMeasured: boolean;
  /** Where the damaged data are in the packed input; the end is exclusive. */
  readonly packedStart: number;
  readonly packedEnd: number;
}

/** Bytes that were unpacked of damaged data: no checksum proves them. Offsets as of LostBytes. */
export type DoubtfulBytes = Pick<LostBytes, "start" | "end" | "message">;

/** Random access to bytes. Anyone can supply one: two facts and a function. */
export interface ByteSource {
  /** For messages: a path, `fd 5`, a Blob's name. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * Fills `into` from `offset` on. Returns the bytes read: less than `into.length` only at the end.
   * A small read may be answered at once, a large one usually by a promise.
   * @throws LostBytesError where some of them are lost with damaged packed data
   */
  read(offset: number, into: Uint8Array): MaybePromise<number>;
  /** Where the source is in an open file as it is; undefined where it isn't. */
  readonly file?: FilePlace | undefined;
  /** What it was unpacked from; undefined: it is as it was given. */
  readonly packed?: Packed | undefined;
}

/** Bytes in order, once: a pipe, a socket, a decompressor. */
export interface ByteStream {
  readonly name: string;
  /** Reads at least one byte into `into`, or returns 0 at the end. */
  read(into: Uint8Array): MaybePromise<number>;
}

/** Whether an input can be read at any offset. */
export function isByteSource(input: ByteSource | ByteStream): input is ByteSource {
  return "size" in input;
}

/** A source over bytes in memory. */
export function bytesSource(bytes: Uint8Array, name = "memory"): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, into) {
      const part = bytes.subarray(Math.min(offset, bytes.length), offset + into.length);
      into.set(part);
      return part.length;
    },
  };
}

/** The bytes [start, start + size) of another source as a source of its own. */
export function sliceSource(source: ByteSource, start: number, size: number): ByteSource {
  const length = Math.max(0, Math.min(size, source.size - start));
  const { file } = source;
  return {
    name: source.name,
    size: length,
    file: file && { fd: file.fd, offset: file.offset + start },
    read(offset, into) {
      const room = Math.max(0, Math.min(into.length, length - offset));
      return source.read(start + offset, room === into.length ? into : into.subarray(0, room));
    },
  };
}

/** A source read in order from `start` on. */
export function streamOf(source: ByteSource, start = 0): ByteStream {
  let position = start;
  return {
    name: source.name,
    read(into) {
      const read = source.read(position, into);
      if (read instanceof Promise) {
        return read.then((n) => {
          position += n;
          return n;
        });
      }
      position += read;
      return read;
    },
  };
}

/** Reads exactly `into.length` bytes or says how many there were. */
export async function readFully(source: ByteSource, offset: number, into: Uint8Array): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const part = done === 0 ? into : into.subarray(done);
    const read = source.read(offset + done, part);
    const n = read instanceof Promise ? await read : read;
    if (n === 0) break;
    done += n;
  }
  return done;
}
