import { type Diagnostics, formatError } from "../../findings/diagnostics.js";
import type { Rule } from "../../findings/rule.js";
import type { RecordRef } from "../../findings/finding.js";
import { describeRecord } from "../../findings/finding.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { TruncatedError } from "../../findings/errors.js";
import type { ToolstackWidth } from "./layout.js";
import { checkHvmContextBytes } from "../hvm-context/check.js";
import { LEGACY_RULES } from "./rules.js";

/** Reads a legacy stream in order, exactly: its errors name the chunk that is read. */
export class Cursor {
  readonly reader: ByteReader;
  width: ToolstackWidth = 64;
  /** The chunk being read; its ordinal counts from 0. */
  chunk: RecordRef = { layer: "legacy", index: 0, type: "HEADER" };
  readonly #diagnostics: Diagnostics;

  constructor(reader: ByteReader, diagnostics: Diagnostics) {
    this.reader = reader;
    this.#diagnostics = diagnostics;
  }

  get position(): number {
    return this.reader.position;
  }

  /** Bytes of a `ulong`. */
  get ulongSize(): 4 | 8 {
    return this.width === 64 ? 8 : 4;
  }

  /** Makes `count` bytes available. @throws TruncatedError when the input ends before. */
  async need(count: number, what: string): Promise<void> {
    const enough = this.reader.need(count);
    if (enough === true || (await enough)) return;
    throw this.truncated(count - this.reader.available, what);
  }

  truncated(missing: number, what: string): TruncatedError {
    return new TruncatedError(
      LEGACY_RULES.truncated,
      `the stream ends ${missing} bytes before the end of the ${what}`,
      missing,
      {
        source: this.reader.name,
        offset: this.position,
        record: describeRecord(this.chunk),
      },
    );
  }

  async u32(what: string): Promise<number> {
    await this.need(4, what);
    const value = this.reader.view.getUint32(this.reader.at, true);
    this.reader.take(4);
    return value;
  }

  async i32(what: string): Promise<number> {
    return (await this.u32(what)) | 0;
  }

  /** The next `count` bytes, copied out. */
  async bytes(count: number, what: string): Promise<Uint8Array> {
    await this.need(count, what);
    return this.reader.take(count).slice();
  }

  /** Reads exactly into `into`. @param following bytes of the same structure that follow, for the message */
  async fill(into: Uint8Array, what: string, following = 0): Promise<void> {
    const done = await this.reader.readInto(into);
    if (done < into.length) throw this.truncated(into.length - done + following, what);
  }

  async skip(count: number, what: string): Promise<void> {
    const skipped = this.reader.skip(count);
    const done = typeof skipped === "number" ? skipped : await skipped;
    if (done < count) throw this.truncated(count - done, what);
  }

  /**
   * Reads `count` numbers of `ulong` size, handing them on in pieces as low words.
   * Upper halves that are not zero come as 0xffffffff: no pfn is as large.
   */
  async ulongs(count: number, what: string, take: (words: Uint32Array) => void): Promise<void> {
    const words = new Uint32Array(Math.min(count, ULONGS_AT_ONCE));
    for (let left = count; left > 0; ) {
      const n = Math.min(left, words.length);
      await this.need(n * this.ulongSize, what);
      const { view, at } = this.reader;
      if (this.width === 32) {
        for (let i = 0; i < n; i += 1) words[i] = view.getUint32(at + 4 * i, true);
      } else {
        for (let i = 0; i < n; i += 1) {
          const high = view.getUint32(at + 8 * i + 4, true);
          words[i] = high === 0 ? view.getUint32(at + 8 * i, true) : 0xffffffff;
        }
      }
      this.reader.take(n * this.ulongSize);
      take(words.subarray(0, n));
      left -= n;
    }
  }

  /** Reports what is wrong at `offset` of the chunk being read; reading goes on unless the diagnostics throw. */
  report(rule: Rule, offset: number, message: string): void {
    this.#diagnostics.report(rule, { offset, record: this.chunk }, message);
  }

  /** Checks the HVM context that was read from `offset` on. */
  hvmContext(offset: number, context: Uint8Array): Promise<void> {
    return checkHvmContextBytes(this.#diagnostics, this.chunk, offset, context);
  }

  /** Ends reading: what is wrong makes the rest unreadable. @throws FormatError */
  fail(rule: Rule, offset: number, message: string): never {
    throw formatError(rule, this.reader.name, { offset, record: this.chunk }, message);
  }
}

const ULONGS_AT_ONCE = 32768;
