import { viewOf } from "../../binary/layout.js";
import { AbsentError, FormatError } from "../../findings/errors.js";
import { readIndexed } from "./indexed.js";
import { readPlain } from "./plain.js";
import { type LogRecord, type LogReport, readLong } from "./record.js";
import { readRing } from "./ring.js";
import { LINUX_LOG_RULES } from "./rules.js";
import { LogMemory, type LogSource } from "./source.js";

/**
 * The kernel's log, oldest record first, from what VMCOREINFO says alone: the ring buffer of Linux 5.10 and later,
 * the records of 3.5 to 5.9, the plain text of older ones. Records are read as they are asked for.
 * @param report receives records that were overwritten, unfinished or damaged, and of memory that isn't there
 * @throws AbsentError where VMCOREINFO names no log or its buffer isn't in the input, FormatError where it is damaged
 */
export async function* readLog(source: LogSource, report: LogReport = () => {}): AsyncGenerator<LogRecord> {
  const memory = new LogMemory(source);
  const prb = memory.symbol("prb");
  if (prb !== undefined) {
    yield* readRing(memory, prb, report);
    return;
  }
  const logBuf = memory.symbol("log_buf");
  const logBufLen = memory.symbol("log_buf_len");
  if (logBuf === undefined || logBufLen === undefined) {
    throw new AbsentError(
      LINUX_LOG_RULES.unknown,
      "VMCOREINFO names no kernel log (neither prb nor log_buf)",
    );
  }
  const word = memory.bits / 8;
  const start = readLong(
    await memory.read(logBuf, word, "the pointer to the log"),
    0,
    memory.bits,
    memory.little,
  );
  const size = await int(memory, logBufLen, "the log's size");
  if (size === 0) throw new FormatError(LINUX_LOG_RULES.damaged, "the log's buffer has no bytes");
  const buffer = memory.table(start, size, "the log's buffer");
  const end = memory.symbol("log_end");
  if (end !== undefined) {
    // an unsigned long until 2.6.24
    const isLong = /^2\.6\.(1?\d|2[0-4])(\D|$)/.test(memory.release);
    const written = isLong
      ? readLong(await memory.read(end, word, "the log's end"), 0, memory.bits, memory.little)
      : BigInt(await int(memory, end, "the log's end"));
    yield* readPlain(buffer, written, report);
    return;
  }
  const first = memory.symbol("log_first_idx");
  const next = memory.symbol("log_next_idx");
  if (first === undefined || next === undefined) {
    throw new AbsentError(LINUX_LOG_RULES.unknown, "VMCOREINFO doesn't say where the log begins and ends");
  }
  yield* readIndexed(
    memory,
    buffer,
    await int(memory, first, "the log's first index"),
    await int(memory, next, "the log's next index"),
    report,
  );
}

async function int(memory: LogMemory, va: bigint, what: string): Promise<number> {
  return viewOf(await memory.read(va, 4, what)).getUint32(0, memory.little);
}
