import { CODEC_RULES } from "../rules.js";
import type { ByteReader } from "../byte-reader.js";
import { FormatError, TruncatedError } from "../../findings/errors.js";
import { adler32, crc32 } from "./checksums.js";
import { LZOP_MAGIC } from "./compressions.js";
import { lzoDecompress } from "./lzo.js";
import { hasBytes } from "./pieces.js";

/** Flags of lzop's header: which checksums follow each block, what else the header holds. */
const ADLER32_DATA = 0x1;
const ADLER32_PACKED = 0x2;
const EXTRA_FIELD = 0x40;
const CRC32_DATA = 0x100;
const CRC32_PACKED = 0x200;
const FILTER = 0x800;
const CRC32_HEADER = 0x1000;
/** lzop's own limit. */
const MAX_BLOCK = 64 << 20;
/** An instruction of LZO1X makes at most 255 bytes of one. */
const MAX_RATIO = 256;

const damaged = (message: string): FormatError => new FormatError(CODEC_RULES.lzop, `lzop data: ${message}`);
const cut = (message: string, missing: number): TruncatedError =>
  new TruncatedError(CODEC_RULES.lzop, `lzop data: ${message}`, missing);

/** Big-endian numbers in order, each demanded of the reader. */
class Numbers {
  readonly #reader: ByteReader;
  /** Bytes taken, for the header's checksum. */
  readonly taken: number[] = [];

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  async next(size: number): Promise<number> {
    if (!(await hasBytes(this.#reader, size)))
      throw cut("it ends within a header", size - this.#reader.available);
    let value = 0;
    for (const byte of this.#reader.take(size)) {
      value = value * 256 + byte;
      this.taken.push(byte);
    }
    return value;
  }
}

/** Reads the header of a part; returns its flags. @throws FormatError `codec/lzop` */
export async function readLzopHeader(reader: ByteReader): Promise<number> {
  if (!(await hasBytes(reader, LZOP_MAGIC.length)))
    throw cut("it ends within a header", LZOP_MAGIC.length - reader.available);
  const magic = reader.take(LZOP_MAGIC.length);
  if (LZOP_MAGIC.some((byte, i) => magic[i] !== byte)) throw damaged("no part starts here");
  const numbers = new Numbers(reader);
  const version = await numbers.next(2);
  await numbers.next(2);
  const recent = version >= 0x940;
  if (recent) await numbers.next(2);
  const method = await numbers.next(1);
  if (method < 1 || method > 3) throw damaged(`method ${method} is not LZO1X`);
  if (recent) await numbers.next(1);
  const flags = await numbers.next(4);
  if ((flags & FILTER) !== 0) throw damaged("it went through a filter");
  // mode and time
  await numbers.next(8);
  if (recent) await numbers.next(4);
  for (let left = await numbers.next(1); left > 0; left -= 1) await numbers.next(1);
  const head = Uint8Array.from(numbers.taken);
  const sum = (flags & CRC32_HEADER) === 0 ? adler32(head) : crc32(head);
  if ((await numbers.next(4)) !== sum) throw damaged("the checksum of a header is wrong");
  if ((flags & EXTRA_FIELD) !== 0) {
    const size = await numbers.next(4);
    await reader.skip(size + 4);
  }
  return flags;
}

/** A block of lzop's by its header: bytes with the header, and bytes that it unpacks to; undefined where that is impossible. */
export function lzopBlock(
  head: Uint8Array,
  flags: number,
): { readonly length: number; readonly size: number } | undefined {
  if (head.length < 8) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const size = view.getUint32(0);
  const packed = view.getUint32(4);
  if (size === 0 || size > MAX_BLOCK || packed === 0 || packed > size || packed * MAX_RATIO < size)
    return undefined;
  const sums = [ADLER32_DATA, CRC32_DATA, ...(packed < size ? [ADLER32_PACKED, CRC32_PACKED] : [])];
  return { length: 8 + 4 * sums.filter((sum) => (flags & sum) !== 0).length + packed, size };
}

/**
 * Unpacks what lzop packed.
 * @throws FormatError `codec/lzop` or `codec/lzo`
 */
export async function* unlzop(reader: ByteReader): AsyncIterable<Uint8Array> {
  do {
    const flags = await readLzopHeader(reader);
    for (;;) {
      const numbers = new Numbers(reader);
      const size = await numbers.next(4);
      if (size === 0) break;
      const packed = await numbers.next(4);
      if (size > MAX_BLOCK || packed > size) throw damaged("a block has an impossible size");
      if (packed * MAX_RATIO < size) throw damaged("a block would unpack to more than it can");
      const adler = (flags & ADLER32_DATA) === 0 ? undefined : await numbers.next(4);
      const crc = (flags & CRC32_DATA) === 0 ? undefined : await numbers.next(4);
      const isPacked = packed < size;
      const packedAdler = isPacked && (flags & ADLER32_PACKED) !== 0 ? await numbers.next(4) : undefined;
      const packedCrc = isPacked && (flags & CRC32_PACKED) !== 0 ? await numbers.next(4) : undefined;
      if (!(await hasBytes(reader, packed))) throw cut("it ends within a block", packed - reader.available);
      const input = reader.take(packed);
      const output = isPacked ? lzoDecompress(input, size) : input;
      const wrong =
        (adler !== undefined && adler !== adler32(output)) ||
        (crc !== undefined && crc !== crc32(output)) ||
        (packedAdler !== undefined && packedAdler !== adler32(input)) ||
        (packedCrc !== undefined && packedCrc !== crc32(input));
      if (wrong) throw damaged("the checksum of a block is wrong");
      yield output;
    }
  } while (await hasBytes(reader, 1));
}
