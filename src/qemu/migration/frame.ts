import { latin1 } from "../../binary/layout.js";
import type { Rule } from "../../findings/rule.js";
import type { RecordRef } from "../../findings/finding.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";

/** Names are identifiers and paths: printable ASCII. */
const PRINTABLE = /^[\x20-\x7e]+$/;

export function isName(text: string): boolean {
  return PRINTABLE.test(text);
}

/** The state of a walk over a stream: the reader, the section it is in, and what it has found wrong. */
export class Frame {
  reader: ByteReader;
  readonly diagnostics: Diagnostics;
  record: RecordRef | undefined;

  constructor(reader: ByteReader, diagnostics: Diagnostics) {
    this.reader = reader;
    this.diagnostics = diagnostics;
  }

  get position(): number {
    return this.reader.position;
  }

  /** Reports a problem of the section at hand; the walk goes on. */
  report(rule: Rule, offset: number, message: string): void {
    this.diagnostics.report(rule, { offset, record: this.record }, message);
  }

  /** Ends a walk whose framing can no longer be trusted. @throws FormatError always */
  fatal(rule: Rule, offset: number, message: string): never {
    this.diagnostics.fatal(rule, { offset, record: this.record }, message);
  }

  /** Makes `count` bytes of `what` available, or stops the walk. */
  async need(count: number, what: string): Promise<void> {
    const ready = this.reader.need(count);
    if (ready === true || (await ready)) return;
    this.truncated(what, count - this.reader.available);
  }

  truncated(what: string, missing: number): never {
    this.fatal(
      QEMU_MIGRATION_RULES.truncated,
      this.position,
      `the file ends ${missing} byte${missing === 1 ? "" : "s"} short of the end of ${what}`,
    );
  }

  async u8(what: string): Promise<number> {
    await this.need(1, what);
    return this.reader.take(1)[0] ?? 0;
  }

  async u16(what: string): Promise<number> {
    await this.need(2, what);
    const value = this.reader.view.getUint16(this.reader.at);
    this.reader.take(2);
    return value;
  }

  async u32(what: string): Promise<number> {
    await this.need(4, what);
    const value = this.reader.view.getUint32(this.reader.at);
    this.reader.take(4);
    return value;
  }

  /** Copies out `count` bytes; memory grows only as they arrive. */
  async bytes(count: number, what: string): Promise<Uint8Array> {
    await this.need(count, what);
    return this.reader.take(count).slice();
  }

  async skip(count: number, what: string): Promise<void> {
    const skipped = this.reader.skip(count);
    const n = skipped instanceof Promise ? await skipped : skipped;
    if (n < count) this.truncated(what, count - n);
  }

  /** A name with its length in one byte in front. */
  async name(what: string): Promise<string> {
    const at = this.position;
    const length = await this.u8(`the name of ${what}`);
    await this.need(length, `the name of ${what}`);
    const name = latin1(this.reader.take(length));
    if (!isName(name))
      this.fatal(QEMU_MIGRATION_RULES.sectionName, at, `the name of ${what} is ${JSON.stringify(name)}`);
    return name;
  }
}
