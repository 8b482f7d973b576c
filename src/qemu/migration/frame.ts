import { latin1 } from "../../binary/layout.js";
import type { RecordRef, Rule } from "../../findings/finding.js";
import type { Report } from "../../findings/report.js";
import type { ByteReader } from "../../io/byte-reader.js";
import { QEVM } from "./rules.js";

/** Ends a walk whose framing can no longer be trusted; the finding is in the report already. */
export class Stopped extends Error {}

/** Names are identifiers and paths: printable ASCII. */
const PRINTABLE = /^[\x20-\x7e]+$/;

export function isName(text: string): boolean {
  return PRINTABLE.test(text);
}

/** Where a walk over a stream stands: the reader, the section it is in, and what it has found wrong. */
export class Frame {
  reader: ByteReader;
  readonly report: Report;
  record: RecordRef | undefined;

  constructor(reader: ByteReader, report: Report) {
    this.reader = reader;
    this.report = report;
  }

  get position(): number {
    return this.reader.position;
  }

  add(rule: Rule, offset: number, message: string): void {
    this.report.add(rule, { offset, record: this.record }, message);
  }

  halt(rule: Rule, offset: number, message: string): never {
    this.add(rule, offset, message);
    throw new Stopped(message);
  }

  /** Makes `count` bytes of `what` available, or stops the walk. */
  async need(count: number, what: string): Promise<void> {
    const ready = this.reader.need(count);
    if (ready === true || (await ready)) return;
    this.truncated(what, count - this.reader.available);
  }

  truncated(what: string, missing: number): never {
    this.halt(
      QEVM.truncated,
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
    if (!isName(name)) this.halt(QEVM.sectionName, at, `the name of ${what} is ${JSON.stringify(name)}`);
    return name;
  }
}
