import type { RandomSink } from "./byte-sink.js";
import type { ByteSource } from "./byte-source.js";

/** Scratch storage that can be written and read at any offset and is gone when closed. */
export interface Spool extends ByteSource, RandomSink {
  close(): void;
}

/** Opens a scratch store. */
export type OpenSpool = () => Spool;

const PART = 1 << 20;

/** A spool in memory, in parts that exist once written. */
export class MemorySpool implements Spool {
  readonly name = "spool in memory";
  #parts: (Uint8Array | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  write(bytes: Uint8Array): void {
    this.writeAt(this.#size, bytes);
  }

  writeAt(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const index = Math.floor((offset + done) / PART);
      const at = (offset + done) % PART;
      const part = (this.#parts[index] ??= new Uint8Array(PART));
      const n = Math.min(bytes.length - done, PART - at);
      part.set(bytes.subarray(done, done + n), at);
      done += n;
    }
    this.#size = Math.max(this.#size, offset + bytes.length);
  }

  truncate(size: number): void {
    this.#size = size;
    this.#parts.length = Math.ceil(size / PART);
  }

  read(offset: number, into: Uint8Array): number {
    const length = Math.max(0, Math.min(into.length, this.#size - offset));
    for (let done = 0; done < length; ) {
      const part = this.#parts[Math.floor((offset + done) / PART)];
      const at = (offset + done) % PART;
      const n = Math.min(length - done, PART - at);
      if (part === undefined) into.fill(0, done, done + n);
      else into.set(part.subarray(at, at + n), done);
      done += n;
    }
    return length;
  }

  close(): void {
    this.#parts = [];
    this.#size = 0;
  }
}

const BUFFER = 2 << 20;

/** Writes into a spool in large pieces, the next one being filled while the last is written. */
export class SpoolWriter {
  readonly #spool: Spool;
  #buffer = new Uint8Array(BUFFER);
  #other = new Uint8Array(BUFFER);
  /** Offset in the spool of the buffer's first byte, and bytes in it. */
  #start = 0;
  #fill = 0;
  #flying: Promise<void> | undefined;
  #flyingStart = 0;
  #flyingEnd = 0;
  #error: unknown;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  /** A piece of a buffer for up to `length` bytes at `offset`, to be filled whole before the next call. */
  async room(offset: number, length: number): Promise<Uint8Array> {
    if (this.#fill > 0 && (offset !== this.#start + this.#fill || this.#fill === BUFFER)) await this.#send();
    if (this.#fill === 0) this.#start = offset;
    const from = this.#fill;
    this.#fill += Math.min(length, BUFFER - from);
    return this.#buffer.subarray(from, this.#fill);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const room = await this.room(offset + done, bytes.length - done);
      room.set(bytes.subarray(done, done + room.length));
      done += room.length;
    }
  }

  /** Whether bytes of [offset, offset + length) are not in the spool yet. */
  isPending(offset: number, length: number): boolean {
    const end = offset + length;
    return (
      (offset < this.#start + this.#fill && end > this.#start) ||
      (this.#flying !== undefined && offset < this.#flyingEnd && end > this.#flyingStart)
    );
  }

  async #send(): Promise<void> {
    await this.#landed();
    const full = this.#buffer.subarray(0, this.#fill);
    this.#flyingStart = this.#start;
    this.#flyingEnd = this.#start + this.#fill;
    const written = this.#spool.writeAt(this.#start, full);
    if (written instanceof Promise) {
      this.#flying = written.catch((error: unknown) => {
        this.#error = error;
      });
      [this.#buffer, this.#other] = [this.#other, this.#buffer];
    }
    this.#fill = 0;
  }

  async #landed(): Promise<void> {
    if (this.#flying !== undefined) await this.#flying;
    this.#flying = undefined;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Everything is in the spool when this resolves. */
  async flush(): Promise<void> {
    if (this.#fill > 0) await this.#send();
    await this.#landed();
  }
}
