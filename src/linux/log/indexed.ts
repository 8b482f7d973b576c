import { viewOf } from "../../binary/layout.js";
import { FormatError } from "../../io/errors.js";
import { callerOf, levelAndFlags, type LogRecord, type LogReport, logText } from "./record.js";
import { LOG } from "./rules.js";
import type { LogMemory, LogTable } from "./source.js";

/**
 * The log of Linux 3.5 to 5.9 (kernel/printk/printk.c): records of variable length one after another in `log_buf`,
 * from `log_first_idx` to `log_next_idx`. A record of length 0 says that the next one is at the buffer's start. Text
 * follows the record's header, then the dictionary: `SUBSYSTEM=…`, NUL, `DEVICE=…`.
 */
interface IndexedLayout {
  readonly size: number;
  readonly tsNsec: number;
  readonly length: number;
  readonly textLength: number;
  readonly dictionaryLength: number;
  /** Since Linux 5.1, if so configured. */
  readonly callerId: number | undefined;
}

/** Bytes that a record's header has at most; real ones have 16 to 24. */
const LARGEST_HEADER = 256;

/** Linux 3.5 to 3.10 name the structure `log`, later ones `printk_log`. */
function layoutOf(memory: LogMemory): IndexedLayout {
  const name = memory.optional("SIZE(printk_log)") === undefined ? "log" : "printk_log";
  const layout = {
    size: memory.number(`SIZE(${name})`),
    tsNsec: memory.number(`OFFSET(${name}.ts_nsec)`),
    length: memory.number(`OFFSET(${name}.len)`),
    textLength: memory.number(`OFFSET(${name}.text_len)`),
    dictionaryLength: memory.number(`OFFSET(${name}.dict_len)`),
    callerId: memory.optional(`OFFSET(${name}.caller_id)`),
  };
  const { size, tsNsec, length, textLength, dictionaryLength, callerId = 0 } = layout;
  const end = Math.max(tsNsec + 8, length + 2, textLength + 2, dictionaryLength + 4, callerId + 4);
  if (end <= size && size <= LARGEST_HEADER) return layout;
  throw new FormatError(LOG.damaged.code, "VMCOREINFO puts members of the log's records outside of them");
}

/** Records from the oldest on. @throws AbsentError, FormatError where the buffer itself can't be made out. */
export async function* readIndexed(
  memory: LogMemory,
  buffer: LogTable,
  first: number,
  next: number,
  report: LogReport,
): AsyncGenerator<LogRecord> {
  const layout = layoutOf(memory);
  if (first > buffer.size || next > buffer.size) {
    throw new FormatError(
      LOG.damaged.code,
      `the log begins at ${first} and ends at ${next} of a buffer of ${buffer.size} bytes`,
    );
  }
  let wrapped = next >= first;
  // every step goes on by at least a header, and through the buffer once
  for (let at = first; wrapped ? at < next : true; ) {
    const header = (await buffer.bytes(at, layout.size)).slice();
    if (header.length < layout.size && at + layout.size <= buffer.size) {
      report(LOG.unreadable, `the log from ${at} on, of ${buffer.size} bytes, is not in the input`);
      return;
    }
    const view = viewOf(header);
    const length = header.length < layout.size ? 0 : view.getUint16(layout.length, memory.little);
    if (length === 0 && !wrapped) {
      wrapped = true;
      at = 0;
      continue;
    }
    const textLength = length === 0 ? 0 : view.getUint16(layout.textLength, memory.little);
    const dictionary = length === 0 ? 0 : view.getUint16(layout.dictionaryLength, memory.little);
    const limit = wrapped ? next : buffer.size;
    if (length < layout.size || at + length > limit || layout.size + textLength + dictionary > length) {
      report(
        LOG.damaged,
        `the record at ${at} has ${length} bytes, ${textLength} of text and ${dictionary} of dictionary: reading ends here`,
      );
      return;
    }
    const rest = (await buffer.bytes(at + layout.size, textLength + dictionary)).slice();
    if (rest.length < textLength)
      report(LOG.unreadable, `the text of the record at ${at} is not wholly in the input`);
    yield recordOf(memory, layout, view, rest.subarray(0, textLength), rest.subarray(textLength));
    at += length;
  }
}

function recordOf(
  { little, release }: LogMemory,
  layout: IndexedLayout,
  view: DataView,
  text: Uint8Array,
  dictionary: Uint8Array,
): LogRecord {
  const device = deviceOf(dictionary);
  const after = layout.dictionaryLength + 2;
  return {
    tsNsec: view.getBigUint64(layout.tsNsec, little),
    ...(/^3\.5(\.|-|$)/.test(release)
      ? priority(view.getUint16(after, little))
      : { facility: view.getUint8(after), ...levelAndFlags(view.getUint8(after + 1), little) }),
    ...(layout.callerId === undefined ? {} : { caller: callerOf(view.getUint32(layout.callerId, little)) }),
    ...(device === undefined ? {} : { device }),
    text: logText(text),
  };
}

/** Level and facility in one number, as syslog's clients send them. */
export function priority(value: number): { level: number; facility: number } {
  return { level: value & 7, facility: value >> 3 };
}

/** Subsystem and device out of a record's dictionary. */
function deviceOf(dictionary: Uint8Array): LogRecord["device"] {
  if (dictionary.length === 0) return undefined;
  let subsystem = "";
  let device = "";
  for (let at = 0; at < dictionary.length; ) {
    const end = dictionary.indexOf(0, at);
    const entry = logText(dictionary.subarray(at, end === -1 ? dictionary.length : end));
    if (entry.startsWith("SUBSYSTEM=")) subsystem = entry.slice("SUBSYSTEM=".length);
    if (entry.startsWith("DEVICE=")) device = entry.slice("DEVICE=".length);
    at = end === -1 ? dictionary.length : end + 1;
  }
  return subsystem === "" && device === "" ? undefined : { subsystem, device };
}
