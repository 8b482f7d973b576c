import type { MaybePromise } from "./byte-source.js";

/** Takes bytes in order. `write` has done with `bytes` when it returns (or its promise resolves). */
export interface ByteSink {
  readonly name: string;
  write(bytes: Uint8Array): MaybePromise<void>;
}

/** Takes bytes at any offset; what is never written reads as zeros (a hole where the file system has them). */
export interface RandomSink extends ByteSink {
  writeAt(offset: number, bytes: Uint8Array): MaybePromise<void>;
  /** Sets the final size, so that holes at the end count. */
  truncate(size: number): MaybePromise<void>;
}

/** A sink whose bytes count only once it is committed: a file written beside its final name, a pipe. */
export interface AtomicSink extends ByteSink {
  /** Makes the output final. */
  commit(): void;
  /** Gives up: nothing is left behind where that is possible. */
  abandon(): void;
}

/** Whether a sink takes bytes at any offset. */
export function isRandomSink(sink: ByteSink): sink is RandomSink {
  return "writeAt" in sink;
}

/** A sink that keeps all bytes in memory: for tests, small outputs and the browser. */
export class MemorySink implements ByteSink {
  readonly name: string;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(name = "memory") {
    this.name = name;
  }

  get length(): number {
    return this.#length;
  }

  write(bytes: Uint8Array): void {
    this.#parts.push(bytes.slice());
    this.#length += bytes.length;
  }

  /** All bytes written so far. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    this.#parts = [all];
    return all;
  }
}
