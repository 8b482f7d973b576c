import { priority } from "./indexed.js";
import { type LogRecord, type LogReport, logText } from "./record.js";
import { LOG } from "./rules.js";
import type { LogTable } from "./source.js";

/** Bytes that a line may have before it is given in parts: more than any that a kernel prints at once. */
const LONGEST_LINE = 1 << 16;
const NEWLINE = 10;

/**
 * The log before Linux 3.5: plain text in a ring, `log_end` characters of which were ever written. Lines begin with
 * `<6>` (priority), and `[    1.234567] ` where the kernel was told to print times.
 */
export async function* readPlain(
  buffer: LogTable,
  end: bigint,
  report: LogReport,
): AsyncGenerator<LogRecord> {
  const size = BigInt(buffer.size);
  const wrapped = end > size;
  const length = wrapped ? buffer.size : Number(end);
  const first = wrapped ? Number(end % size) : 0;
  let line: number[] = [];
  // the oldest line of a ring that went round is cut
  let isCut = wrapped;
  for (let done = 0; done < length; ) {
    const at = (first + done) % buffer.size;
    const part = await buffer.bytes(at, Math.min(4096, length - done, buffer.size - at));
    if (part.length === 0) {
      report(LOG.unreadable, `${length - done} of ${length} bytes of the log are not in the input`);
      return;
    }
    for (const byte of part) {
      if (byte !== NEWLINE && line.length < LONGEST_LINE) {
        line.push(byte);
        continue;
      }
      if (byte !== NEWLINE)
        report(LOG.damaged, `a line of more than ${LONGEST_LINE} bytes is given in parts`);
      yield lineOf(line, isCut);
      isCut = false;
      line = byte === NEWLINE ? [] : [byte];
    }
    done += part.length;
  }
  if (line.length > 0) yield lineOf(line, isCut);
}

function lineOf(bytes: readonly number[], isCut: boolean): LogRecord {
  const text = logText(Uint8Array.from(bytes));
  if (isCut) return { text };
  const [, prefix, seconds, micros, rest = ""] =
    /^(?:<(\d{1,3})>)?(?:\[ *(\d{1,9})\.(\d{6})\] )?(.*)$/s.exec(text) ?? [];
  return {
    ...(seconds === undefined || micros === undefined
      ? {}
      : { tsNsec: BigInt(seconds) * 1_000_000_000n + BigInt(micros) * 1000n }),
    ...(prefix === undefined ? {} : priority(Number(prefix))),
    text: rest,
  };
}
