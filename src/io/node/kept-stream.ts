import type { ByteSource, ByteStream, MaybePromise } from "../byte-source.js";
import { SpoolFile } from "./output.js";

/** Bytes written at once: a copy into the page cache, which costs less than to hand them to another thread. */
const PIECE = 512 << 10;

/**
 * A stream all of whose bytes are kept in a temporary file as they are read, so that they can be read again. Where they
 * can't be kept, for want of room say, the stream goes on without.
 */
export class KeptStream implements ByteStream {
  readonly name: string;
  readonly #stream: ByteStream;
  /** Undefined: nothing is kept. */
  #spool: SpoolFile | undefined;
  readonly #buffer = new Uint8Array(PIECE);
  #fill = 0;
  #size = 0;
  /** The read under way: a decoder may read ahead. */
  #reading: Promise<unknown> = Promise.resolve();
  #isOver = false;

  /** @param directory of the temporary file; default the system's */
  constructor(stream: ByteStream, directory?: string) {
    this.name = stream.name;
    this.#stream = stream;
    this.#spool = new SpoolFile(directory);
  }

  read(into: Uint8Array): MaybePromise<number> {
    if (this.#isOver) return 0;
    const read = this.#take(into);
    if (read instanceof Promise) this.#reading = read.catch(() => undefined);
    return read;
  }

  /** Reads what is left, and gives all bytes that came; undefined where they could not be kept. Other readers are at the end. */
  async whole(): Promise<ByteSource | undefined> {
    this.#isOver = true;
    await this.#reading;
    const rest = new Uint8Array(PIECE);
    while (this.#spool !== undefined && (await this.#take(rest)) > 0);
    await this.#write();
    const spool = this.#spool;
    return spool && { name: this.name, size: this.#size, read: (offset, into) => spool.read(offset, into) };
  }

  close(): void {
    this.#spool?.close();
    this.#spool = undefined;
  }

  #take(into: Uint8Array): MaybePromise<number> {
    const read = this.#stream.read(into);
    return read instanceof Promise ? read.then((n) => this.#keep(into, n)) : this.#keep(into, read);
  }

  /** Keeps the first bytes of a buffer; answers with their number. */
  #keep(bytes: Uint8Array, length: number): MaybePromise<number> {
    if (this.#spool === undefined) return length;
    this.#size += length;
    if (length <= PIECE - this.#fill) {
      this.#buffer.set(bytes.subarray(0, length), this.#fill);
      this.#fill += length;
      return length;
    }
    return this.#write()
      .then(() => this.#spool?.write(bytes.subarray(0, length)))
      .then(
        () => length,
        () => {
          this.close();
          return length;
        },
      );
  }

  /** Empties the buffer. */
  async #write(): Promise<void> {
    try {
      await this.#spool?.write(this.#buffer.subarray(0, this.#fill));
      this.#fill = 0;
    } catch {
      this.close();
    }
  }
}
