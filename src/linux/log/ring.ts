import { viewOf } from "../../binary/layout.js";
import { yieldToEventLoop } from "../../io/event-loop.js";
import { FormatError } from "../../findings/errors.js";
import {
  callerOf,
  fieldText,
  levelAndFlags,
  type LogRecord,
  type LogReport,
  logText,
  readLong,
} from "./record.js";
import { LINUX_LOG_RULES } from "./rules.js";
import type { LogMemory, LogTable } from "./source.js";

/**
 * The ring buffer of Linux 5.10 and later (kernel/printk/printk_ringbuffer.h): a ring of descriptors, one of
 * descriptors' infos beside it, and a ring of text blocks. A descriptor's id counts on for ever; its place is the id
 * modulo their number. `state_var` holds the state in its top two bits and the id in the others.
 */
interface Ring {
  readonly memory: LogMemory;
  /** Number of descriptors, a power of two. */
  readonly count: number;
  readonly descriptors: LogTable;
  readonly infos: LogTable;
  readonly text: LogTable;
  readonly layout: RingLayout;
}

/** Offsets and sizes that VMCOREINFO gives, in bytes. */
interface RingLayout {
  readonly descriptorSize: number;
  readonly state: number;
  readonly begin: number;
  readonly next: number;
  readonly infoSize: number;
  readonly seq: number;
  readonly tsNsec: number;
  readonly textLength: number;
  readonly callerId: number;
  readonly comm: number | undefined;
  readonly device: { readonly subsystem: Field; readonly device: Field } | undefined;
}

interface Field {
  readonly offset: number;
  readonly size: number;
}

const STATES = ["reserved", "committed", "finalized", "reusable"] as const;

/** More descriptors or text than any kernel can be told to have (`log_buf_len` is at most 2 GiB). */
const MOST_COUNT_BITS = 26;
const MOST_SIZE_BITS = 31;

/** Low bit of a text block's place: there is no block. The rest says why. */
const NO_BLOCK = 1n;
/** The place of a block whose text was never stored or has been overwritten. */
const FAILED = 1n;

/** The event loop turns every so many records. */
const STEPS_PER_TURN = 4096;

/** Bytes of a task's name. */
const COMM = 16;
/** `caller_id2` and the name are between caller id and device from Linux 6.19 on, if so configured. */
const WITH_COMM = 4 + 4 + COMM;

function layoutOf(memory: LogMemory): RingLayout {
  const number = (key: string): number => memory.number(key);
  const optional = (key: string): number | undefined => memory.optional(key);
  const block = number("OFFSET(prb_desc.text_blk_lpos)");
  const callerId = number("OFFSET(printk_info.caller_id)");
  const info = optional("OFFSET(printk_info.dev_info)");
  const subsystem = optional("OFFSET(dev_printk_info.subsystem)");
  const subsystemSize = optional("LENGTH(printk_info_subsystem)");
  const device = optional("OFFSET(dev_printk_info.device)");
  const deviceSize = optional("LENGTH(printk_info_device)");
  const known =
    info !== undefined &&
    subsystem !== undefined &&
    subsystemSize !== undefined &&
    device !== undefined &&
    deviceSize !== undefined;
  const layout: RingLayout = {
    descriptorSize: number("SIZE(prb_desc)"),
    state: number("OFFSET(prb_desc.state_var)") + (optional("OFFSET(atomic_long_t.counter)") ?? 0),
    begin: block + number("OFFSET(prb_data_blk_lpos.begin)"),
    next: block + number("OFFSET(prb_data_blk_lpos.next)"),
    infoSize: number("SIZE(printk_info)"),
    seq: number("OFFSET(printk_info.seq)"),
    tsNsec: number("OFFSET(printk_info.ts_nsec)"),
    textLength: number("OFFSET(printk_info.text_len)"),
    callerId,
    comm: info === callerId + WITH_COMM ? callerId + 8 : undefined,
    device: known
      ? {
          subsystem: { offset: info + subsystem, size: subsystemSize },
          device: { offset: info + device, size: deviceSize },
        }
      : undefined,
  };
  const word = memory.bits / 8;
  const { descriptorSize, state, begin, next, infoSize, seq, tsNsec, textLength, comm } = layout;
  const fits =
    Math.max(state, begin, next) + word <= descriptorSize &&
    Math.max(seq + 8, tsNsec + 8, textLength + 4, callerId + 4, (comm ?? 0) + COMM) <= infoSize &&
    infoSize <= LARGEST_STRUCTURE &&
    descriptorSize <= LARGEST_STRUCTURE;
  if (fits) return layout;
  throw new FormatError(
    LINUX_LOG_RULES.damaged,
    "VMCOREINFO puts members of the log's structures outside of them",
  );
}

/** Bytes that a structure of the log has at most; the largest real one has 112. */
const LARGEST_STRUCTURE = 1 << 12;

/** Records in the order they were begun. @throws AbsentError, FormatError where the ring itself can't be made out. */
export async function* readRing(
  memory: LogMemory,
  prb: bigint,
  report: LogReport,
): AsyncGenerator<LogRecord> {
  const { bits, little } = memory;
  const layout = layoutOf(memory);
  const pointer = await memory.read(prb, bits / 8, "`prb`, the pointer to the log's ring buffer");
  const at = readLong(pointer, 0, bits, little);
  const head = await memory.read(at, ringSize(memory), "the log's ring buffer");
  const offset = (key: string): number => memory.number(`OFFSET(${key})`);
  const counter = memory.optional("OFFSET(atomic_long_t.counter)") ?? 0;
  const descriptorRing = offset("printk_ringbuffer.desc_ring");
  const textRing = offset("printk_ringbuffer.text_data_ring");
  const long = (place: number): bigint => {
    if (place + bits / 8 <= head.length) return readLong(head, place, bits, little);
    throw new FormatError(
      LINUX_LOG_RULES.damaged,
      "VMCOREINFO puts members of the log's ring buffer outside of it",
    );
  };
  const pointerAt = (ring: number, key: string): bigint => long(ring + offset(key));
  // both are unsigned int; what pads them to a long isn't theirs
  const int = (ring: number, key: string): number => {
    pointerAt(ring, key);
    return viewOf(head).getUint32(ring + offset(key), little);
  };
  const countBits = int(descriptorRing, "prb_desc_ring.count_bits");
  const sizeBits = int(textRing, "prb_data_ring.size_bits");
  if (countBits > MOST_COUNT_BITS || sizeBits > MOST_SIZE_BITS) {
    throw new FormatError(
      LINUX_LOG_RULES.damaged,
      `the log's ring buffer announces 2^${countBits} descriptors and 2^${sizeBits} bytes of text`,
    );
  }
  const count = 2 ** countBits;
  const ring: Ring = {
    memory,
    count,
    layout,
    descriptors: memory.table(
      pointerAt(descriptorRing, "prb_desc_ring.descs"),
      count * layout.descriptorSize,
      "the log's ring of descriptors",
    ),
    infos: memory.table(
      pointerAt(descriptorRing, "prb_desc_ring.infos"),
      count * layout.infoSize,
      "the log's ring of record infos",
    ),
    text: memory.table(pointerAt(textRing, "prb_data_ring.data"), 2 ** sizeBits, "the log's ring of text"),
  };
  const idMask = (1n << BigInt(bits - 2)) - 1n;
  const last = pointerAt(descriptorRing + counter, "prb_desc_ring.head_id") & idMask;
  const first = pointerAt(descriptorRing + counter, "prb_desc_ring.tail_id") & idMask;
  let span = Number((last - first) & idMask) + 1;
  if (span > count) {
    report(
      LINUX_LOG_RULES.damaged,
      `the ring of ${count} descriptors announces ${span} records: the newest ${count} are read`,
    );
    span = count;
  }
  yield* records(ring, (last - BigInt(span - 1)) & idMask, span, report);
}

/** Bytes of `struct printk_ringbuffer`. */
function ringSize(memory: LogMemory): number {
  const size = memory.number("SIZE(printk_ringbuffer)");
  if (size <= 1 << 16) return size;
  throw new FormatError(
    LINUX_LOG_RULES.damaged,
    `VMCOREINFO says that a ring buffer's head has ${size} bytes`,
  );
}

/** The records of `span` descriptors from id `first` on. */
async function* records(
  ring: Ring,
  first: bigint,
  span: number,
  report: LogReport,
): AsyncGenerator<LogRecord> {
  const { memory, layout, count } = ring;
  const idMask = (1n << BigInt(memory.bits - 2)) - 1n;
  let unreadable = 0;
  for (let step = 0; step < span; step += 1) {
    if (step % STEPS_PER_TURN === STEPS_PER_TURN - 1) await yieldToEventLoop();
    const id = (first + BigInt(step)) & idMask;
    const slot = Number(id % BigInt(count));
    const raw = await ring.descriptors.bytes(slot * layout.descriptorSize, layout.descriptorSize);
    if (raw.length < layout.descriptorSize) {
      unreadable += 1;
      continue;
    }
    const stateVar = readLong(raw, layout.state, memory.bits, memory.little);
    const state = STATES[Number(stateVar >> BigInt(memory.bits - 2))] ?? "reusable";
    if ((stateVar & idMask) !== id) {
      // the newest may be announced before its descriptor is, the oldest may be taken already
      if (step !== 0 && step !== span - 1)
        report(LINUX_LOG_RULES.damaged, `record 0x${id.toString(16)}: its descriptor is of another`);
      continue;
    }
    if (state === "reusable") continue;
    if (state === "reserved") {
      report(LINUX_LOG_RULES.unfinished, `record 0x${id.toString(16)} was being written`);
      continue;
    }
    const begin = readLong(raw, layout.begin, memory.bits, memory.little);
    const next = readLong(raw, layout.next, memory.bits, memory.little);
    const info = (await ring.infos.bytes(slot * layout.infoSize, layout.infoSize)).slice();
    if (info.length < layout.infoSize) unreadable += 1;
    else yield await recordOf(ring, id, info, begin, next, report);
  }
  if (unreadable > 0)
    report(LINUX_LOG_RULES.unreadable, `${unreadable} records are in memory that is not in the input`);
}

async function recordOf(
  ring: Ring,
  id: bigint,
  info: Uint8Array,
  begin: bigint,
  next: bigint,
  report: LogReport,
): Promise<LogRecord> {
  const { layout, memory } = ring;
  const { little } = memory;
  const view = viewOf(info);
  const textLength = view.getUint16(layout.textLength, little);
  const seq = view.getBigUint64(layout.seq, little);
  const tell: LogReport = (rule, message) => report(rule, `record ${seq}: ${message}`);
  const text = await textOf(ring, id, begin, next, textLength, tell);
  const { device, comm } = layout;
  const field = ({ offset, size }: Field): string => fieldText(info.subarray(offset, offset + size));
  const subsystem = device === undefined ? "" : field(device.subsystem);
  return {
    seq,
    tsNsec: view.getBigUint64(layout.tsNsec, little),
    // both follow the text's length in every version of the structure
    facility: view.getUint8(layout.textLength + 2),
    ...levelAndFlags(view.getUint8(layout.textLength + 3), little),
    caller: callerOf(view.getUint32(layout.callerId, little)),
    ...(comm === undefined ? {} : { comm: field({ offset: comm, size: COMM }) }),
    ...(device === undefined || subsystem === ""
      ? {}
      : { device: { subsystem, device: field(device.device) } }),
    ...(text === undefined ? { text: "", empty: true } : { text }),
  };
}

/** A record's text; undefined where it has no block. */
async function textOf(
  ring: Ring,
  id: bigint,
  begin: bigint,
  next: bigint,
  textLength: number,
  tell: LogReport,
): Promise<string | undefined> {
  const { text, memory } = ring;
  const word = memory.bits / 8;
  if ((begin & NO_BLOCK) !== 0n && (next & NO_BLOCK) !== 0n) {
    if (begin === FAILED && next === FAILED) tell(LINUX_LOG_RULES.overwritten, "its text is gone");
    return undefined;
  }
  const size = BigInt(text.size);
  const end = Number(next % size);
  // a block that would have wrapped is at the ring's start; one may end where the ring does
  const wraps = begin / size !== next / size && end !== 0;
  const start = wraps ? 0 : Number(begin % size);
  const stop = end === 0 ? text.size : end;
  // places count on and wrap as unsigned longs do
  const distance = BigInt.asUintN(memory.bits, next - begin);
  if (distance > size || stop - start < word) {
    tell(
      LINUX_LOG_RULES.damaged,
      `its text block [0x${begin.toString(16)}, 0x${next.toString(16)}) can't be`,
    );
    return undefined;
  }
  const block = await text.bytes(start, Math.min(stop - start, word + textLength));
  if (block.length < word) {
    tell(LINUX_LOG_RULES.unreadable, "its text is not in the input");
    return undefined;
  }
  if (readLong(block, 0, memory.bits, memory.little) !== id) {
    tell(LINUX_LOG_RULES.overwritten, "its text's place holds another record's");
    return undefined;
  }
  const bytes = block.subarray(word, word + textLength);
  if (stop - start - word < textLength) {
    tell(
      LINUX_LOG_RULES.truncated,
      `${textLength} bytes of text are announced, its block has ${stop - start - word}`,
    );
  } else if (bytes.length < textLength) {
    tell(
      LINUX_LOG_RULES.unreadable,
      `${textLength - bytes.length} of ${textLength} bytes of its text are not in the input`,
    );
  }
  return logText(bytes);
}
