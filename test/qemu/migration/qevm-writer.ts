import * as zlib from "node:zlib";
import {
  FLAG,
  mappedRamHeader,
  QEVM_MAGIC,
  QEVM_VERSION,
  SECTION,
} from "../../../src/qemu/migration/layout.js";

/** Numbers of 1, 2, 4 or 8 bytes, big endian. */
const be = (size: 1 | 2 | 4 | 8, value: number): Buffer => {
  const bytes = Buffer.alloc(size);
  if (size === 8) bytes.writeBigUInt64BE(BigInt(value));
  else bytes.writeUIntBE(value, 0, size);
  return bytes;
};
const named = (name: string): Buffer => Buffer.concat([be(1, name.length), Buffer.from(name, "latin1")]);

export interface Block {
  readonly name: string;
  readonly length: number;
  /** What follows the length in the list: a page size, an address. */
  readonly after?: readonly number[];
}

/** One field of a device: its description and its bytes. */
export interface WrittenField {
  readonly name: string;
  readonly type: string;
  readonly bytes: Uint8Array;
  /** Elements, for an array. */
  readonly count?: number;
}

export const number = (name: string, size: 1 | 2 | 4 | 8, value: number): WrittenField => ({
  name,
  type: `uint${size * 8}`,
  bytes: be(size, value),
});
export const buffer = (name: string, bytes: Uint8Array, type = "buffer"): WrittenField => ({
  name,
  type,
  bytes,
});

const RAM_ID = 2;
const PAGE = 4096;
/** Pages of a block in a mapped-ram file begin at a multiple of this. */
const MAPPED_ALIGNMENT = 1 << 20;

/**
 * Writes QEVM streams piece by piece, as QEMU does. `emit` takes what is written, so that large streams need no
 * memory.
 */
export class QevmWriter {
  readonly footers: boolean;
  readonly #emit: (bytes: Uint8Array) => void;
  readonly #devices: unknown[] = [];
  #nextId = 3;
  #block: string | undefined;
  /** Bytes written. */
  position = 0;

  constructor(emit: (bytes: Uint8Array) => void, footers = true) {
    this.#emit = emit;
    this.footers = footers;
  }

  put(...parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#emit(part);
      this.position += part.length;
    }
  }

  header(): this {
    this.put(be(4, QEVM_MAGIC), be(4, QEVM_VERSION));
    return this;
  }

  configuration(machine: string, capabilities: readonly string[] = []): this {
    this.put(be(1, SECTION.configuration), be(4, machine.length), Buffer.from(machine, "latin1"));
    if (capabilities.length > 0)
      this.put(
        be(1, SECTION.subsection),
        named("configuration/capabilities"),
        be(4, 1),
        be(4, capabilities.length),
        ...capabilities.map(named),
      );
    return this;
  }

  #footer(id: number): void {
    if (this.footers) this.put(be(1, SECTION.footer), be(4, id));
  }

  record(address: number, flags: number, ...data: readonly Uint8Array[]): this {
    // the address's low bits are zero: sums hold where `|` would cut to 32 bits
    this.put(be(8, address + flags), ...data);
    return this;
  }

  startRam(blocks: readonly Block[]): this {
    this.put(be(1, SECTION.start), be(4, RAM_ID), named("ram"), be(4, 0), be(4, 4));
    this.record(
      blocks.reduce((sum, block) => sum + block.length, 0),
      FLAG.memSize,
      ...blocks.flatMap(({ name, length, after = [] }) => [
        named(name),
        be(8, length),
        ...after.map((value) => be(8, value)),
      ]),
    );
    this.record(0, FLAG.eos);
    this.#footer(RAM_ID);
    return this;
  }

  /** The list of a mapped-ram file with one block, and its pages, all present; `pages` writes them, `length` bytes in all. */
  startMappedRam({ name, length }: Block, pages: () => void): this {
    this.put(be(1, SECTION.start), be(4, RAM_ID), named("ram"), be(4, 0), be(4, 4));
    this.record(length, FLAG.memSize, named(name), be(8, length));
    const bitmapAt = this.position + mappedRamHeader.size;
    const bitmap = Buffer.alloc(length / PAGE / 8, 0xff);
    const pagesAt = Math.ceil((bitmapAt + bitmap.length) / MAPPED_ALIGNMENT) * MAPPED_ALIGNMENT;
    this.put(
      mappedRamHeader.encode(
        { version: 1, pageSize: PAGE, bitmapOffset: bitmapAt, pagesOffset: pagesAt },
        "big",
      ),
      bitmap,
      Buffer.alloc(pagesAt - bitmapAt - bitmap.length),
    );
    pages();
    this.record(0, FLAG.eos);
    this.#footer(RAM_ID);
    return this;
  }

  /** RAM records of one section; `last` ends RAM. */
  ram(last: boolean, write: () => void): this {
    this.put(be(1, last ? SECTION.end : SECTION.part), be(4, RAM_ID));
    write();
    this.record(0, FLAG.eos);
    this.#footer(RAM_ID);
    return this;
  }

  #page(block: string, address: number, flags: number, ...data: readonly Uint8Array[]): void {
    if (block === this.#block) this.record(address, flags | FLAG.continue, ...data);
    else this.record(address, flags, named(block), ...data);
    this.#block = block;
  }

  plain(block: string, address: number, page: Uint8Array): void {
    this.#page(block, address, FLAG.page, page);
  }

  zero(block: string, address: number, byte = 0): void {
    this.#page(block, address, FLAG.zero, be(1, byte));
  }

  compressed(block: string, address: number, page: Uint8Array): void {
    const packed = zlib.deflateSync(page, { level: 1 });
    this.#page(block, address, FLAG.compress, be(4, packed.length), packed);
  }

  delta(block: string, address: number, difference: Uint8Array): void {
    this.#page(block, address, FLAG.xbzrle, be(1, 1), be(2, difference.length), difference);
  }

  device(name: string, fields: readonly WrittenField[], instance = 0, version = 1): this {
    const id = this.#nextId;
    this.#nextId += 1;
    this.put(be(1, SECTION.full), be(4, id), named(name), be(4, instance), be(4, version));
    this.put(...fields.map(({ bytes }) => bytes));
    this.#footer(id);
    this.#devices.push({
      name,
      instance_id: instance,
      vmsd_name: name.replace(/^.*\//, ""),
      version,
      fields: fields.map(({ name: field, type, bytes, count }) =>
        count === undefined
          ? { name: field, type, size: bytes.length }
          : { name: field, type, size: bytes.length / count, array_len: count },
      ),
    });
    return this;
  }

  description(): Buffer {
    return Buffer.from(JSON.stringify({ page_size: 4096, devices: this.#devices }));
  }

  end(description: Uint8Array | undefined = this.description()): void {
    this.put(be(1, SECTION.eof));
    if (description !== undefined)
      this.put(be(1, SECTION.description), be(4, description.length), description);
  }
}

/** Devices of a small i440fx machine: registers, the clock with the split, the chipset with RAM everywhere. */
export function pcDevices(writer: QevmWriter, below: number, above: number): void {
  const segment = (): Buffer => Buffer.alloc(20);
  writer.device("cpu", [
    { name: "env.regs", type: "uint64", count: 16, bytes: Buffer.alloc(128, 0x11) },
    number("env.eip", 8, 0x1000),
    number("env.eflags", 8, 2),
    ...["env.ldt", "env.tr"].map((name) => buffer(name, segment())),
    number("env.cr[0]", 8, 1),
  ]);
  const cmos = Buffer.alloc(128);
  if (below >= 16 << 20) cmos.writeUInt16LE((below - (16 << 20)) / 65536, 0x34);
  cmos.writeUInt16LE(Math.min(0xffff, (below - (1 << 20)) / 1024), 0x30);
  cmos.writeUIntLE(above / 65536, 0x5b, 3);
  writer.device("mc146818rtc", [buffer("cmos_data", cmos), number("cmos_index", 1, 0)]);
  const config = Buffer.alloc(256);
  config.fill(0x33, 0x59, 0x60);
  writer.device("0000:00:00.0/I440FX", [buffer("config[0]", config, "pci config")]);
}

/** XBZRLE from `before` to `after`, as QEMU writes it. */
export function encodeDelta(before: Uint8Array, after: Uint8Array): Uint8Array {
  const out: number[] = [];
  const count = (n: number): void => void (n < 0x80 ? out.push(n) : out.push((n & 0x7f) | 0x80, n >> 7));
  for (let at = 0; at < after.length; ) {
    const same = at;
    while (at < after.length && before[at] === after[at]) at += 1;
    if (at === after.length) break;
    count(at - same);
    const changed = at;
    while (at < after.length && before[at] !== after[at]) at += 1;
    count(at - changed);
    out.push(...after.subarray(changed, at));
  }
  return Uint8Array.from(out);
}

export function collect(write: (writer: QevmWriter) => void, footers = true): Buffer {
  const parts: Uint8Array[] = [];
  write(new QevmWriter((bytes) => parts.push(Uint8Array.from(bytes)), footers));
  return Buffer.concat(parts);
}
