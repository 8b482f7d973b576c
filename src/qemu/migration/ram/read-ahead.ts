import type { ByteSource, MaybePromise } from "../../../io/byte-source.js";
import { LostBytesError } from "../../../io/lost-bytes.js";

/** Places reading goes on from, at once: a page's base and each of its differences are in runs of their own. */
const WINDOWS = 16;
const WINDOW = 64 << 10;
/** A read that begins this little after the end of the one before continues it. */
const NEAR = 8 << 10;

interface Window {
  start: number;
  end: number;
  /** Empty until reading has gone on once. */
  bytes: Uint8Array;
  used: number;
}

/**
 * Small reads in several ascending runs, answered from a window per run. A read that continues no run goes
 * straight to the source, so that scattered reads cost nothing extra.
 */
export class ReadAhead implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #source: ByteSource;
  readonly #windows: Window[] = [];
  #clock = 0;

  constructor(source: ByteSource) {
    this.#source = source;
    this.name = source.name;
    this.size = source.size;
  }

  read(offset: number, into: Uint8Array): MaybePromise<number> {
    const end = offset + into.length;
    this.#clock += 1;
    for (const window of this.#windows) {
      if (offset < window.start || offset > window.end + NEAR) continue;
      if (end <= window.end && window.bytes.length > 0) {
        window.used = this.#clock;
        into.set(window.bytes.subarray(offset - window.start, end - window.start));
        return into.length;
      }
      if (end > window.end && into.length <= WINDOW / 4) return this.#goOn(window, offset, into);
    }
    this.#begin(offset, end);
    return this.#source.read(offset, into);
  }

  #goOn(window: Window, offset: number, into: Uint8Array): MaybePromise<number> {
    // a buffer of its own: an asynchronous read may still be under way into the old one
    const bytes = new Uint8Array(WINDOW);
    const fill = (n: number): number => {
      Object.assign(window, { start: offset, end: offset + n, bytes, used: this.#clock });
      into.set(bytes.subarray(0, Math.min(n, into.length)));
      return Math.min(n, into.length);
    };
    // only what is asked for must not be lost
    const alone = (error: unknown): MaybePromise<number> => {
      if (error instanceof LostBytesError) return this.#source.read(offset, into);
      throw error;
    };
    try {
      const read = this.#source.read(offset, bytes);
      return read instanceof Promise ? read.then(fill, alone) : fill(read);
    } catch (error) {
      return alone(error);
    }
  }

  #begin(offset: number, end: number): void {
    const fresh = { start: offset, end, bytes: new Uint8Array(0), used: this.#clock };
    if (this.#windows.length < WINDOWS) {
      this.#windows.push(fresh);
      return;
    }
    const oldest = this.#windows.reduce((a, b) => (a.used <= b.used ? a : b));
    Object.assign(oldest, fresh);
  }
}
