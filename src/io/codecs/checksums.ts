/** Table of a reflected CRC-32 (polynomial 0xedb88320). */
const REFLECTED = new Uint32Array(256);
/** Table of the same polynomial with the most significant bit first, as bzip2 uses it. */
const FORWARD = new Uint32Array(256);
for (let n = 0; n < 256; n += 1) {
  let low = n;
  let high = n << 24;
  for (let bit = 0; bit < 8; bit += 1) {
    low = (low & 1) === 1 ? (low >>> 1) ^ 0xedb8_8320 : low >>> 1;
    high = high < 0 ? (high << 1) ^ 0x04c1_1db7 : high << 1;
  }
  REFLECTED[n] = low;
  FORWARD[n] = high;
}

/** CRC-32 of gzip, zlib's crc32() and lzop; `start` continues an earlier one. */
export function crc32(bytes: Uint8Array, start = 0): number {
  let crc = ~start;
  for (const byte of bytes) crc = (crc >>> 8) ^ (REFLECTED[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

/** CRC-32 of bzip2 blocks. */
export function crc32Forward(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (crc << 8) ^ (FORWARD[((crc >>> 24) ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

/** Adler-32 of zlib and lzop (RFC 1950); `start` continues an earlier one. */
export function adler32(bytes: Uint8Array, start = 1): number {
  let a = start & 0xffff;
  let b = start >>> 16;
  for (let at = 0; at < bytes.length; ) {
    // the sums can't overflow 32 bits within so many bytes
    const end = Math.min(at + 3800, bytes.length);
    for (; at < end; at += 1) {
      a += bytes[at] ?? 0;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}

const P1 = 0x9e37_79b1;
const P2 = 0x85eb_ca77;
const P3 = 0xc2b2_ae3d;
const P4 = 0x27d4_eb2f;
const P5 = 0x1656_67b1;

const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by));
const round = (sum: number, lane: number): number =>
  Math.imul(rotate((sum + Math.imul(lane, P2)) | 0, 13), P1);

/** xxHash of 32 bits (seed 0) over bytes that come in parts: LZ4 frames are checked with it. */
export class Xxh32 {
  #lanes = [(P1 + P2) | 0, P2 | 0, 0, -P1 | 0] as [number, number, number, number];
  readonly #rest = new Uint8Array(16);
  #held = 0;
  #length = 0;

  update(bytes: Uint8Array): this {
    this.#length += bytes.length;
    let at = 0;
    if (this.#held > 0) {
      at = Math.min(16 - this.#held, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#held);
      this.#held += at;
      if (this.#held < 16) return this;
      this.#stripes(this.#rest);
      this.#held = 0;
    }
    const whole = at + ((bytes.length - at) & ~15);
    this.#stripes(bytes.subarray(at, whole));
    this.#held = bytes.length - whole;
    this.#rest.set(bytes.subarray(whole));
    return this;
  }

  #stripes(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let [a, b, c, d] = this.#lanes;
    for (let at = 0; at < bytes.length; at += 16) {
      a = round(a, view.getUint32(at, true));
      b = round(b, view.getUint32(at + 4, true));
      c = round(c, view.getUint32(at + 8, true));
      d = round(d, view.getUint32(at + 12, true));
    }
    this.#lanes = [a, b, c, d];
  }

  digest(): number {
    const [a, b, c, d] = this.#lanes;
    const sum = this.#length >= 16 ? rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18) : P5;
    let hash = (sum + this.#length) | 0;
    const view = new DataView(this.#rest.buffer);
    let at = 0;
    for (; at + 4 <= this.#held; at += 4)
      hash = Math.imul(rotate((hash + Math.imul(view.getUint32(at, true), P3)) | 0, 17), P4);
    for (; at < this.#held; at += 1)
      hash = Math.imul(rotate((hash + Math.imul(view.getUint8(at), P5)) | 0, 11), P1);
    hash = Math.imul(hash ^ (hash >>> 15), P2);
    hash = Math.imul(hash ^ (hash >>> 13), P3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

export const xxh32 = (bytes: Uint8Array): number => new Xxh32().update(bytes).digest();
