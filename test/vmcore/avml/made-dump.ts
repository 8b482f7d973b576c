import { crc32c } from "../../../src/io/codecs/crc32c.js";
import { loadCompressor } from "../../../src/io/codecs/codec.js";
import { avmlHeader } from "../../../src/vmcore/avml/layout.js";

const compress = await loadCompressor("snappy");

/** A chunk's header. */
export function word(kind: number, size: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(kind + size * 256);
  return bytes;
}

/** A block to be made. */
export interface Made {
  readonly start: number;
  readonly contents: Uint8Array;
  readonly chunk?: number;
  readonly trailer?: bigint;
  readonly extra?: Uint8Array;
}

/** A dump by the format's description: every second chunk stored as it is. */
export function dump(blocks: readonly Made[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { start, contents, chunk = 65_536, trailer, extra } of blocks) {
    const end = start + contents.length - 1;
    parts.push(avmlHeader.encode({ magic: 0x4c4d5641, version: 2, start, end, padding: 0 }, "little"));
    parts.push(word(0xff, 6), Buffer.from("sNaPpY"));
    for (let at = 0, i = 0; at < contents.length; at += chunk, i += 1) {
      const piece = contents.subarray(at, at + chunk);
      const data = i % 2 === 0 ? compress(piece, 0) : piece;
      const crc = crc32c(piece);
      const sum = Buffer.alloc(4);
      sum.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
      parts.push(word(i % 2, data.length + 4), sum, data);
      if (extra !== undefined && i === 0) parts.push(extra);
    }
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(trailer ?? BigInt(contents.length));
    parts.push(size);
  }
  return new Uint8Array(Buffer.concat(parts));
}
