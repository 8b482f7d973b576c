import type { ByteOrder } from "../../../src/binary/layout.js";
import type { KernelMemory, LogSource } from "../../../src/linux/log/source.js";

/** Where the made memory begins. */
const BASE = 0xffff_ffff_8100_0000n;

/** Kernel memory made by a test: bytes from BASE on, pages of it missing where the test says so. */
export class MadeMemory implements KernelMemory {
  readonly bytes: Buffer;
  readonly missing = new Set<number>();
  reads = 0;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  read(va: bigint, into: Uint8Array): number {
    this.reads += 1;
    for (let done = 0; done < into.length; ) {
      const at = Number(BigInt.asUintN(64, va) - BASE) + done;
      if (at < 0 || at >= this.bytes.length || this.missing.has(at >> 12)) return done;
      const part = Math.min(4096 - (at % 4096), into.length - done, this.bytes.length - at);
      into.set(this.bytes.subarray(at, at + part), done);
      done += part;
    }
    return into.length;
  }
}

/** A kernel whose structures the tests lay out themselves, word size and byte order as wanted. */
export class MadeKernel {
  readonly memory: MadeMemory;
  readonly bits: 32 | 64;
  readonly order: ByteOrder;
  readonly info = new Map<string, string>();

  constructor(size: number, bits: 32 | 64, order: ByteOrder) {
    this.memory = new MadeMemory(size);
    this.bits = bits;
    this.order = order;
    this.info.set("OSRELEASE", "5.10.0-test");
    this.info.set("PAGESIZE", "4096");
  }

  get word(): number {
    return this.bits / 8;
  }

  put(size: 1 | 2 | 4 | 8, at: number, value: bigint | number): void {
    const { bytes } = this.memory;
    const wide = BigInt.asUintN(size * 8, BigInt(value));
    for (let i = 0; i < size; i += 1) {
      const byte = Number((wide >> BigInt(8 * i)) & 0xffn);
      bytes[this.order === "little" ? at + i : at + size - 1 - i] = byte;
    }
  }

  long(at: number, value: bigint | number): void {
    this.put(this.bits === 64 ? 8 : 4, at, value);
  }

  pointer(at: number, to: number): void {
    this.long(at, BASE + BigInt(to));
  }

  symbol(name: string, at: number): void {
    this.info.set(`SYMBOL(${name})`, (BASE + BigInt(at)).toString(16));
  }

  /** Level and flags in their shared byte. */
  levelAndFlags(at: number, level: number, flags: number): void {
    this.put(1, at, this.order === "little" ? (level << 5) | flags : (flags << 3) | level);
  }

  source(): LogSource {
    return {
      vmcoreInfo: Array.from(this.info, ([key, value]) => `${key}=${value}\n`).join(""),
      memory: this.memory,
      // a 32-bit kernel's addresses are the made ones' low halves
      ...(this.bits === 64 ? {} : { memory: { read: (va, into) => this.memory.read(widened(va), into) } }),
      bits: this.bits,
      order: this.order,
      memorySize: this.memory.bytes.length,
    };
  }
}

const widened = (va: bigint): bigint => (va < 1n << 32n ? va | (BASE & ~0xffff_ffffn) : va);

export interface Message {
  readonly text: string;
  readonly tsNsec: bigint;
  readonly level: number;
  readonly facility: number;
  readonly flags: number;
  readonly caller: number;
  readonly subsystem: string;
  readonly device: string;
}

const INFO = {
  seq: 0,
  tsNsec: 8,
  textLength: 16,
  facility: 18,
  level: 19,
  caller: 20,
  subsystem: 24,
  device: 40,
};
const INFO_SIZE = 88;

/** Places of a made ring buffer's parts. */
export interface MadeRing {
  readonly kernel: MadeKernel;
  readonly head: number;
  readonly descriptors: number;
  readonly infos: number;
  readonly text: number;
  readonly count: number;
}

/**
 * Writes messages into a ring buffer as the kernel does: ids and places count on, the oldest go when descriptors or
 * text run out, a block that would wrap starts anew at the ring's start.
 */
export function makeRing(
  messages: readonly Message[],
  {
    countBits,
    sizeBits,
    bits,
    order,
  }: { countBits: number; sizeBits: number; bits: 32 | 64; order: ByteOrder },
): MadeRing & { readonly kept: readonly Message[] } {
  const count = 2 ** countBits;
  const size = 2 ** sizeBits;
  const kernel = new MadeKernel(0x1000 + 0x8000 + count * (INFO_SIZE + 24) + size + 0x3000, bits, order);
  const { word, info } = kernel;
  const head = 0x1000;
  const descriptors = 0x2000;
  const infos = descriptors + count * 3 * word;
  const text = infos + count * INFO_SIZE;
  const textRing = 6 * word;
  kernel.symbol("prb", 0);
  kernel.pointer(0, head);
  info.set("SIZE(printk_ringbuffer)", String(11 * word));
  const layout: [string, number][] = [
    ["printk_ringbuffer.desc_ring", 0],
    ["printk_ringbuffer.text_data_ring", textRing],
    ["prb_desc_ring.count_bits", 0],
    ["prb_desc_ring.descs", word],
    ["prb_desc_ring.infos", 2 * word],
    ["prb_desc_ring.head_id", 3 * word],
    ["prb_desc_ring.tail_id", 4 * word],
    ["prb_desc.state_var", 0],
    ["prb_desc.text_blk_lpos", word],
    ["prb_data_blk_lpos.begin", 0],
    ["prb_data_blk_lpos.next", word],
    ["printk_info.seq", INFO.seq],
    ["printk_info.ts_nsec", INFO.tsNsec],
    ["printk_info.text_len", INFO.textLength],
    ["printk_info.caller_id", INFO.caller],
    ["printk_info.dev_info", INFO.subsystem],
    ["dev_printk_info.subsystem", 0],
    ["dev_printk_info.device", 16],
    ["prb_data_ring.size_bits", 0],
    ["prb_data_ring.data", word],
    ["atomic_long_t.counter", 0],
  ];
  for (const [key, value] of layout) info.set(`OFFSET(${key})`, String(value));
  info.set("SIZE(prb_desc)", String(3 * word));
  info.set("SIZE(printk_info)", String(INFO_SIZE));
  info.set("LENGTH(printk_info_subsystem)", "16");
  info.set("LENGTH(printk_info_device)", "48");
  kernel.put(4, head, countBits);
  kernel.pointer(head + word, descriptors);
  kernel.pointer(head + 2 * word, infos);
  kernel.put(4, head + textRing, sizeBits);
  kernel.pointer(head + textRing + word, text);

  const idMask = (1n << BigInt(bits - 2)) - 1n;
  const mask = (1n << BigInt(bits)) - 1n;
  // as the kernel's initializer does: just before everything wraps for the first time
  let id = idMask - BigInt(count) + 1n;
  let place = (mask + 1n - BigInt(size)) & mask;
  const live: { id: bigint; begin: bigint; next: bigint; message: Message }[] = [];
  for (const [seq, message] of messages.entries()) {
    id = (id + 1n) & idMask;
    const bytes = Buffer.from(message.text);
    let begin = 3n;
    let next = 3n;
    if (bytes.length > 0) {
      const need = BigInt(Math.ceil((word + bytes.length) / word) * word);
      begin = place;
      next = (begin + need) & mask;
      let start = Number(begin % BigInt(size));
      if (begin / BigInt(size) !== next / BigInt(size)) {
        next = ((next / BigInt(size)) * BigInt(size) + need) & mask;
        start = 0;
      }
      place = next;
      while (live[0] !== undefined && ((next - live[0].begin) & mask) > BigInt(size) && live[0].begin !== 3n)
        live.shift();
      while (
        live[0]?.begin === 3n &&
        live.some(({ begin: b }) => b !== 3n && ((next - b) & mask) > BigInt(size))
      )
        live.shift();
      while (live.some(({ begin: b }) => b !== 3n && ((next - b) & mask) > BigInt(size))) live.shift();
      kernel.long(text + start, id);
      bytes.copy(kernel.memory.bytes, text + start + word);
    }
    live.push({ id, begin, next, message });
    if (live.length > count) live.shift();
    const slot = Number(id % BigInt(count));
    const descriptor = descriptors + slot * 3 * word;
    kernel.long(descriptor, id | (2n << BigInt(bits - 2)));
    kernel.long(descriptor + word, begin);
    kernel.long(descriptor + 2 * word, next);
    const at = infos + slot * INFO_SIZE;
    kernel.put(8, at + INFO.seq, seq);
    kernel.put(8, at + INFO.tsNsec, message.tsNsec);
    kernel.put(2, at + INFO.textLength, bytes.length);
    kernel.put(1, at + INFO.facility, message.facility);
    kernel.levelAndFlags(at + INFO.level, message.level, message.flags);
    kernel.put(4, at + INFO.caller, message.caller);
    kernel.memory.bytes.fill(0, at + INFO.subsystem, at + INFO_SIZE);
    kernel.memory.bytes.write(message.subsystem, at + INFO.subsystem, 16, "latin1");
    kernel.memory.bytes.write(message.device, at + INFO.device, 48, "latin1");
  }
  kernel.long(head + 3 * word, id);
  kernel.long(head + 4 * word, live[0]?.id ?? id);
  return { kernel, head, descriptors, infos, text, count, kept: live.map(({ message }) => message) };
}

/** Header of a record in the log of Linux 3.5 to 5.9, without and with a caller. */
const RECORD = { tsNsec: 0, length: 8, textLength: 10, dictionary: 12, facility: 14, level: 15, caller: 16 };

/** Writes messages into `log_buf` as Linux 3.5 to 5.9 does. */
export function makeIndexed(
  messages: readonly Message[],
  { size, bits, order, caller }: { size: number; bits: 32 | 64; order: ByteOrder; caller: boolean },
): { kernel: MadeKernel; kept: readonly Message[]; buffer: number; first: number; next: number } {
  const kernel = new MadeKernel(0x4000 + size, bits, order);
  const buffer = 0x2000;
  const header = caller ? 24 : 16;
  kernel.info.set("OSRELEASE", "4.19.0-test");
  for (const [at, name] of ["log_buf", "log_buf_len", "log_first_idx", "log_next_idx"].entries())
    kernel.symbol(name, at * 16);
  kernel.pointer(0, buffer);
  kernel.put(4, 16, size);
  kernel.info.set("SIZE(printk_log)", String(header));
  kernel.info.set("OFFSET(printk_log.ts_nsec)", "0");
  kernel.info.set("OFFSET(printk_log.len)", "8");
  kernel.info.set("OFFSET(printk_log.text_len)", "10");
  kernel.info.set("OFFSET(printk_log.dict_len)", "12");
  if (caller) kernel.info.set("OFFSET(printk_log.caller_id)", "16");
  const live: { at: number; length: number; message: Message }[] = [];
  let next = 0;
  for (const message of messages) {
    const text = Buffer.from(message.text);
    const dictionary = Buffer.from(
      message.subsystem === "" ? "" : `SUBSYSTEM=${message.subsystem}\0DEVICE=${message.device}`,
    );
    const length = Math.ceil((header + text.length + dictionary.length) / 8) * 8;
    // room for a header stays after every record, for the mark that says: go on at the start
    if (next + length + header > size) {
      while (live[0] !== undefined && live[0].at >= next) live.shift();
      kernel.memory.bytes.fill(0, buffer + next, buffer + Math.min(size, next + header));
      next = 0;
    }
    while (live[0] !== undefined && live[0].at >= next && live[0].at < next + length + header) live.shift();
    const at = buffer + next;
    kernel.memory.bytes.fill(0, at, at + length);
    kernel.put(8, at + RECORD.tsNsec, message.tsNsec);
    kernel.put(2, at + RECORD.length, length);
    kernel.put(2, at + RECORD.textLength, text.length);
    kernel.put(2, at + RECORD.dictionary, dictionary.length);
    kernel.put(1, at + RECORD.facility, message.facility);
    kernel.levelAndFlags(at + RECORD.level, message.level, message.flags);
    if (caller) kernel.put(4, at + RECORD.caller, message.caller);
    text.copy(kernel.memory.bytes, at + header);
    dictionary.copy(kernel.memory.bytes, at + header + text.length);
    live.push({ at: next, length, message });
    next += length;
  }
  const first = live[0]?.at ?? next;
  kernel.put(4, 32, first);
  kernel.put(4, 48, next);
  return { kernel, kept: live.map(({ message }) => message), buffer, first, next };
}
