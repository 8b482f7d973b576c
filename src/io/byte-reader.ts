import type { ByteSink } from "./byte-sink.js";
import { type ByteSource, type ByteStream, isByteSource, type MaybePromise } from "./byte-source.js";
import { readInHalves } from "./halves.js";
import { LostBytesError } from "./lost-bytes.js";

/** How a ByteReader reads. */
export interface ByteReaderOptions {
  /** Bytes of the window kept in memory; default 1 MiB. It grows to the largest `need`, as data really arrive. */
  readonly window?: number;
  /** First byte to read; of a stream, the offset of its next byte in what it is part of. Default 0. */
  readonly start?: number;
  /**
   * Take no byte from a stream beyond what `need`, `skip` and `copyTo` ask for: the descriptor is shared
   * and another program goes on reading it.
   */
  readonly exact?: boolean;
}

const DEFAULT_WINDOW = 1 << 20;
/** Jumps shorter than this are read through: a large read costs less than a small one plus a jump. */
const MIN_WINDOW = 4096;

/**
 * Sequential reading with one window over a source or a stream.
 *
 * `await need(n)` makes n bytes available (it is synchronous when they are there already), then decoding is
 * plain code over `bytes` / `view`. Bytes handed out are views of the window: they hold until the next
 * `need`, `skip` or `copyTo`.
 */
export class ByteReader {
  readonly name: string;
  /** Bytes in all, where the input knows. */
  readonly size: number | undefined;
  /** True when `skip` jumps instead of reading. */
  readonly seekable: boolean;

  readonly #source: ByteSource | undefined;
  readonly #stream: ByteStream | undefined;
  readonly #exact: boolean;
  #buffer: Uint8Array;
  #view: DataView;
  /** Window bytes [#head, #tail) are filled and not yet consumed. */
  #head = 0;
  #tail = 0;
  #position: number;
  #ended = false;
  /** Bytes the next fill asks for: doubles while reading goes on in order, falls back after a jump. */
  #ahead = MIN_WINDOW;
  readonly #window: number;

  constructor(input: ByteSource | ByteStream, options: ByteReaderOptions = {}) {
    this.name = input.name;
    this.#window = options.window ?? DEFAULT_WINDOW;
    this.#exact = options.exact ?? false;
    this.#position = options.start ?? 0;
    if (isByteSource(input)) {
      this.#source = input;
      this.size = input.size;
      this.seekable = true;
    } else {
      this.#stream = input;
      this.size = undefined;
      this.seekable = false;
    }
    this.#buffer = new Uint8Array(MIN_WINDOW);
    this.#view = new DataView(this.#buffer.buffer);
  }

  /** Offset in the input of the next byte. */
  get position(): number {
    return this.#position;
  }

  /** Bytes at hand without reading. */
  get available(): number {
    return this.#tail - this.#head;
  }

  /** The window itself, for `Layout.read(reader.view, reader.at, …)`. */
  get view(): DataView {
    return this.#view;
  }

  /** Index in `view` of the next byte. */
  get at(): number {
    return this.#head;
  }

  /** Makes `count` bytes available. False when the input ends before: `available` says what there is. */
  need(count: number): MaybePromise<boolean> {
    if (this.#tail - this.#head >= count) return true;
    return this.#fill(count);
  }

  async #fill(count: number): Promise<boolean> {
    while (this.#tail - this.#head < count) {
      if (this.#ended) return false;
      // never by the announced length alone: the window at most doubles beyond what has really arrived
      const missing = count - (this.#tail - this.#head);
      const wanted = this.#exact ? missing : Math.max(missing, this.#ahead);
      const room = this.#makeRoom(Math.min(wanted, Math.max(this.#window, this.#tail - this.#head)));
      const into = this.#buffer.subarray(this.#tail, this.#tail + room);
      const at = this.#position + (this.#tail - this.#head);
      let n: number;
      try {
        const result = this.#readInto(into, at);
        n = result instanceof Promise ? await result : result;
        this.#ahead = Math.min(this.#window, this.#ahead * 2);
      } catch (error) {
        // only what is asked for must not be lost: bytes ahead of it may be
        if (!(error instanceof LostBytesError) || into.length <= missing) throw error;
        const result = this.#readInto(into.subarray(0, missing), at);
        n = result instanceof Promise ? await result : result;
      }
      if (n === 0) this.#ended = true;
      this.#tail += n;
    }
    return true;
  }

  #readInto(into: Uint8Array, offset: number): MaybePromise<number> {
    if (this.#source !== undefined) return readInHalves(this.#source, offset, into);
    if (this.#stream !== undefined) return this.#stream.read(into);
    return 0;
  }

  /** Makes room for `room` bytes, or for as many of them as the buffer has when that is worth a read; returns how many. */
  #makeRoom(room: number): number {
    const kept = this.#tail - this.#head;
    if (this.#tail + room <= this.#buffer.length) return room;
    // an input that gives a few bytes at a time must not have all that came copied for each
    const free = this.#buffer.length - this.#tail;
    if (kept > 0 && free >= MIN_WINDOW) return free;
    if (kept + room <= this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#head, this.#tail);
    } else {
      const least = kept > this.#window ? kept * 2 : Math.min(this.#window, this.#buffer.length * 2);
      const larger = new Uint8Array(Math.max(kept + room, least));
      larger.set(this.#buffer.subarray(this.#head, this.#tail));
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#head = 0;
    this.#tail = kept;
    return room;
  }

  /** The next `count` bytes without consuming them; `need(count)` must have said true. */
  peek(count: number): Uint8Array {
    return this.#buffer.subarray(this.#head, this.#head + Math.min(count, this.available));
  }

  /** Consumes and returns the next `count` bytes; `need(count)` must have said true. */
  take(count: number): Uint8Array {
    const bytes = this.peek(count);
    this.#head += bytes.length;
    this.#position += bytes.length;
    return bytes;
  }

  /** Passes over `count` bytes. Returns how many the input really had. */
  skip(count: number): MaybePromise<number> {
    const atHand = Math.min(count, this.available);
    this.#head += atHand;
    this.#position += atHand;
    const rest = count - atHand;
    if (rest === 0) return count;
    if (this.#source !== undefined) {
      const jump = Math.max(0, Math.min(rest, this.#source.size - this.#position));
      this.#position += jump;
      this.#head = 0;
      this.#tail = 0;
      // records a page apart are still read in order: only a longer jump starts small again
      if (jump > MIN_WINDOW) this.#ahead = MIN_WINDOW;
      return atHand + jump;
    }
    return this.#drop(rest).then((dropped) => atHand + dropped);
  }

  async #drop(count: number): Promise<number> {
    let dropped = 0;
    if (this.#buffer.length < this.#window) this.#makeRoom(this.#window);
    this.#head = 0;
    this.#tail = 0;
    while (dropped < count && !this.#ended) {
      const room = Math.min(count - dropped, this.#buffer.length);
      const result = this.#readInto(this.#buffer.subarray(0, room), this.#position);
      const n = result instanceof Promise ? await result : result;
      if (n === 0) this.#ended = true;
      dropped += n;
      this.#position += n;
    }
    return dropped;
  }

  /**
   * Fills `into` with the next bytes, straight from the input where the window is empty.
   * Returns how many the input really had.
   */
  async readInto(into: Uint8Array): Promise<number> {
    let done = Math.min(into.length, this.available);
    into.set(this.take(done));
    while (done < into.length && !this.#ended) {
      const result = this.#readInto(done === 0 ? into : into.subarray(done), this.#position);
      const n = result instanceof Promise ? await result : result;
      if (n === 0) this.#ended = true;
      done += n;
      this.#position += n;
    }
    return done;
  }

  /** Moves `count` bytes into a sink, a window at a time. Returns how many the input really had. */
  async copyTo(sink: ByteSink, count: number): Promise<number> {
    let copied = 0;
    while (copied < count) {
      if (this.available === 0) {
        const more = this.need(Math.min(count - copied, this.#window));
        if (more instanceof Promise) await more;
        if (this.available === 0) break;
      }
      const part = this.take(Math.min(count - copied, this.available));
      const written = sink.write(part);
      if (written instanceof Promise) await written;
      copied += part.length;
    }
    return copied;
  }
}
