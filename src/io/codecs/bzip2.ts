import { CODEC_RULES } from "../rules.js";
import type { ByteReader } from "../byte-reader.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import { crc32Forward } from "./checksums.js";
import { hasBytes } from "./pieces.js";

/** Most bytes that one packed block can take: 900,000 symbols of 20 bits would be more, but no coder writes them. */
const MAX_PACKED = 2_400_000;
const GROUP = 50;
const MAX_CODE_LENGTH = 20;
const BLOCK_MAGIC = 0x3141_5926_5359;
const END_MAGIC = 0x1772_4538_5090;

const damaged = (message: string): FormatError =>
  new FormatError(CODEC_RULES.bzip2, `bzip2 data: ${message}`);
const cut = (message: string, missing = 1): TruncatedError =>
  new TruncatedError(CODEC_RULES.bzip2, `bzip2 data: ${message}`, missing);

/** Bits of an input, the most significant first. */
class Bits {
  readonly #bytes: Uint8Array;
  /** In bits. */
  position: number;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.position = position;
  }

  bit(): number {
    const byte = this.#bytes[this.position >>> 3];
    if (byte === undefined) throw this.#end();
    const bit = (byte >> (7 - (this.position & 7))) & 1;
    this.position += 1;
    return bit;
  }

  read(count: number): number {
    let value = 0;
    for (let left = count; left > 0; ) {
      const byte = this.#bytes[this.position >>> 3];
      if (byte === undefined) throw this.#end();
      const room = 8 - (this.position & 7);
      const taken = Math.min(room, left);
      value = value * 2 ** taken + ((byte >> (room - taken)) & ((1 << taken) - 1));
      this.position += taken;
      left -= taken;
    }
    return value;
  }

  /** The bytes run out: the input ends here, or a block has more than any. */
  #end(): FormatError {
    const message = "it ends within a block";
    return this.#bytes.length < MAX_PACKED ? cut(message) : damaged(message);
  }
}

/** A canonical prefix code: decoding tables by length. */
interface Code {
  /** Largest code of each length, -1 where there is none. */
  readonly limit: Int32Array;
  /** What to add to a code of each length to find its symbol. */
  readonly base: Int32Array;
  readonly symbols: Uint16Array;
}

function codeOf(lengths: Uint8Array): Code {
  const limit = new Int32Array(MAX_CODE_LENGTH + 1).fill(-1);
  const base = new Int32Array(MAX_CODE_LENGTH + 1);
  const symbols = new Uint16Array(lengths.length);
  let next = 0;
  let code = 0;
  for (let length = 1; length <= MAX_CODE_LENGTH; length += 1) {
    base[length] = next - code;
    for (let symbol = 0; symbol < lengths.length; symbol += 1) {
      if (lengths[symbol] !== length) continue;
      symbols[next++] = symbol;
      limit[length] = code;
      code += 1;
    }
    code <<= 1;
  }
  return { limit, base, symbols };
}

function symbolOf(bits: Bits, code: Code): number {
  let value = 0;
  for (let length = 1; length <= MAX_CODE_LENGTH; length += 1) {
    value = (value << 1) | bits.bit();
    if (value <= (code.limit[length] ?? -1)) {
      const symbol = code.symbols[value + (code.base[length] ?? 0)];
      if (symbol !== undefined) return symbol;
    }
  }
  throw damaged("a code is in no table");
}

/** Takes the byte (or index) at `index` to the front. */
function toFront(list: Uint8Array, index: number): number {
  const value = list[index] ?? 0;
  list.copyWithin(1, 0, index);
  list[0] = value;
  return value;
}

function readSelectors(bits: Bits, tables: number): Uint8Array {
  const selectors = new Uint8Array(bits.read(15));
  if (selectors.length === 0) throw damaged("it has no selectors");
  const order = Uint8Array.from({ length: tables }, (_, i) => i);
  for (let i = 0; i < selectors.length; i += 1) {
    let index = 0;
    while (bits.bit() === 1) index += 1;
    if (index >= tables) throw damaged("a selector names no table");
    selectors[i] = toFront(order, index);
  }
  return selectors;
}

function readCode(bits: Bits, symbols: number): Code {
  const lengths = new Uint8Array(symbols);
  let length = bits.read(5);
  for (let symbol = 0; symbol < symbols; symbol += 1) {
    while (bits.bit() === 1) length += bits.bit() === 0 ? 1 : -1;
    if (length < 1 || length > MAX_CODE_LENGTH) throw damaged("a code has an impossible length");
    lengths[symbol] = length;
  }
  return codeOf(lengths);
}

/** Undoes prefix codes, run lengths of zeros and move-to-front: the last column of the sorted block. */
function readColumn(
  bits: Bits,
  column: Uint32Array,
  capacity: number,
): { column: Uint32Array; count: number } {
  const used: number[] = [];
  const rows = bits.read(16);
  for (let row = 0; row < 16; row += 1) {
    if (((rows >> (15 - row)) & 1) === 0) continue;
    const present = bits.read(16);
    for (let i = 0; i < 16; i += 1) if (((present >> (15 - i)) & 1) === 1) used.push(row * 16 + i);
  }
  if (used.length === 0) throw damaged("a block uses no symbols");
  const tables = bits.read(3);
  if (tables < 2 || tables > 6) throw damaged("an impossible number of tables");
  const selectors = readSelectors(bits, tables);
  const codes = Array.from({ length: tables }, () => readCode(bits, used.length + 2));
  const order = Uint8Array.from(used);
  const endOfBlock = used.length + 1;
  let count = 0;
  let run = 0;
  let weight = 1;
  for (let i = 0; ; i += 1) {
    const code = codes[selectors[Math.floor(i / GROUP)] ?? tables];
    if (code === undefined) throw damaged("selectors run out");
    const symbol = symbolOf(bits, code);
    if (symbol <= 1) {
      run += weight << symbol;
      weight <<= 1;
      if (run > capacity) throw damaged("a block is larger than its stream allows");
      continue;
    }
    if (count + run > capacity) throw damaged("a block is larger than its stream allows");
    column.fill(order[0] ?? 0, count, count + run);
    count += run;
    run = 0;
    weight = 1;
    if (symbol === endOfBlock) return { column, count };
    if (count >= capacity) throw damaged("a block is larger than its stream allows");
    column[count++] = toFront(order, symbol - 1);
  }
}

/** Undoes the sorting (Burrows–Wheeler) and the first run-length coding. */
function unsort(column: Uint32Array, count: number, start: number): Uint8Array {
  if (start >= count) throw damaged("a block starts beyond its end");
  const firsts = new Uint32Array(257);
  for (let i = 0; i < count; i += 1) {
    const slot = ((column[i] ?? 0) & 0xff) + 1;
    firsts[slot] = (firsts[slot] ?? 0) + 1;
  }
  for (let i = 1; i < 257; i += 1) firsts[i] = (firsts[i] ?? 0) + (firsts[i - 1] ?? 0);
  for (let i = 0; i < count; i += 1) {
    const byte = (column[i] ?? 0) & 0xff;
    const slot = firsts[byte] ?? 0;
    firsts[byte] = slot + 1;
    column[slot] = (column[slot] ?? 0) | (i << 8);
  }
  let output: Uint8Array = new Uint8Array(count + 1024);
  let length = 0;
  let equal = 0;
  let last = -1;
  let link = (column[start] ?? 0) >>> 8;
  for (let i = 0; i < count; i += 1) {
    const entry = column[link] ?? 0;
    const byte = entry & 0xff;
    link = entry >>> 8;
    if (equal === 4) {
      // after four equal bytes one more says how many follow
      if (length + byte > output.length) output = grown(output, length + byte);
      output.fill(last, length, length + byte);
      length += byte;
      equal = 0;
      last = -1;
      continue;
    }
    equal = byte === last ? equal + 1 : 1;
    last = byte;
    if (length >= output.length) output = grown(output, length + 1);
    output[length++] = byte;
  }
  return output.subarray(0, length);
}

function grown(bytes: Uint8Array, least: number): Uint8Array {
  const larger = new Uint8Array(Math.max(least, bytes.length * 2));
  larger.set(bytes);
  return larger;
}

/**
 * Unpacks bzip2: streams follow one another, blocks are decoded one at a time.
 * @throws FormatError `codec/bzip2`
 */
export async function* bunzip2(reader: ByteReader): AsyncIterable<Uint8Array> {
  // one for all blocks of all streams: a tiny one must not cost what its header announces
  let work = new Uint32Array(0);
  do {
    if (!(await hasBytes(reader, 4))) throw cut("it ends within a stream's header", 4 - reader.available);
    const head = reader.take(4);
    const level = (head[3] ?? 0) - 0x30;
    if (head[0] !== 0x42 || head[1] !== 0x5a || head[2] !== 0x68 || level < 1 || level > 9)
      throw damaged("a stream's header is wrong");
    let bit = 0;
    let combined = 0;
    for (;;) {
      await hasBytes(reader, MAX_PACKED);
      const bits = new Bits(reader.peek(MAX_PACKED), bit);
      const magic = bits.read(48);
      const crc = bits.read(32);
      if (magic === END_MAGIC) {
        if (crc !== combined) throw damaged("the checksum of a stream is wrong");
        reader.take((bits.position + 7) >>> 3);
        break;
      }
      if (magic !== BLOCK_MAGIC) throw damaged("a block's header is wrong");
      if (bits.bit() === 1) throw damaged("a block is of the obsolete randomised kind");
      const start = bits.read(24);
      const capacity = level * 100_000;
      if (work.length < capacity) work = new Uint32Array(capacity);
      const { column, count } = readColumn(bits, work, capacity);
      const block = unsort(column, count, start);
      if (crc32Forward(block) !== crc) throw damaged("the checksum of a block is wrong");
      combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0;
      reader.take(bits.position >>> 3);
      bit = bits.position & 7;
      yield block;
    }
  } while (await hasBytes(reader, 1));
}
