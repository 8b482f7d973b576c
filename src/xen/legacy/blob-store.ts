import type { ByteSource } from "../../io/byte-source.js";
import type { Cursor } from "./cursor.js";
import { CARRIED_LIMIT } from "./layout.js";
import { LEGACY_RULES } from "./rules.js";
import type { OpenSpool, Spool } from "../../io/spool.js";

/** A byte range of a source. */
export interface SourceRange {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
}

const PIECE = 64 << 10;

/**
 * Keeps the contents of tails: by their offset where the input can be read again, else in one of two spools, which take
 * turns at each checkpoint.
 */
export class BlobStore {
  readonly #input: ByteSource | undefined;
  readonly #openSpool: OpenSpool;
  #spools: Spool[] = [];
  #turn = 0;

  constructor(input: ByteSource | undefined, openSpool: OpenSpool) {
    this.#input = input;
    this.#openSpool = openSpool;
  }

  get #spool(): Spool {
    return (this.#spools[this.#turn] ??= this.#openSpool());
  }

  /** Keeps what came so far until the next call; what comes from now on goes to the other spool. */
  async commit(): Promise<void> {
    this.#turn = 1 - this.#turn;
    await this.#spools[this.#turn]?.truncate(0);
  }

  /** Keeps bytes that were read at `offset`. */
  async keepBytes(offset: number, bytes: Uint8Array): Promise<SourceRange> {
    if (this.#input !== undefined) return { source: this.#input, offset, length: bytes.length };
    const spool = this.#spool;
    const at = spool.size;
    await spool.write(bytes);
    return { source: spool, offset: at, length: bytes.length };
  }

  /** Keeps the next `length` bytes, or all up to the end of the input. */
  async keep(cursor: Cursor, length: number | undefined, what: string): Promise<SourceRange> {
    const { reader } = cursor;
    const offset = cursor.position;
    if (this.#input !== undefined && length !== undefined) {
      await cursor.skip(length, what);
      return { source: this.#input, offset, length };
    }
    const spool = this.#input === undefined ? this.#spool : undefined;
    const at = spool?.size ?? offset;
    const end = length ?? Number.POSITIVE_INFINITY;
    let kept = 0;
    while (kept < end && (await reader.need(Math.min(end - kept, PIECE)), reader.available > 0)) {
      const part = reader.take(Math.min(reader.available, end - kept));
      kept += part.length;
      if (kept > CARRIED_LIMIT)
        cursor.fail(LEGACY_RULES.qemuData, offset, `more than ${CARRIED_LIMIT} bytes of ${what}`);
      await spool?.write(part);
    }
    if (length !== undefined && kept < length) throw cursor.truncated(length - kept, what);
    return { source: this.#input ?? this.#spool, offset: at, length: kept };
  }

  close(): void {
    for (const spool of this.#spools) spool?.close();
    this.#spools = [];
  }
}
