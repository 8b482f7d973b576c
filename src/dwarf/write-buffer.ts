import type { ByteOrder } from "../binary/layout.js";

/** Bytes in the making: grows as it is written to. */
export class WriteBuffer {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;
  readonly #little: boolean;

  /** @param capacity bytes to begin with. */
  constructor(capacity = 1 << 12, order: ByteOrder = "little") {
    this.#little = order === "little";
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  #room(size: number): number {
    const at = this.#length;
    if (at + size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, at + size));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#length = at + size;
    return at;
  }

  u8(value: number): void {
    const at = this.#room(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#room(2);
    this.#view.setUint16(at, value, this.#little);
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, value, this.#little);
  }

  u64(value: bigint): void {
    const at = this.#room(8);
    this.#view.setBigUint64(at, value, this.#little);
  }

  /** A number of `size` bytes. */
  unsigned(value: number | bigint, size: number): void {
    this.#room(size);
    this.set(this.#length - size, value, size);
  }

  /** An unsigned LEB128 number, below 2^53. */
  uleb(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.u8(rest);
  }

  /** An unsigned LEB128 number of any size. */
  bigUleb(value: bigint): void {
    let rest = value;
    while (rest >= 0x80n) {
      this.u8(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.u8(Number(rest));
  }

  /** A signed LEB128 number. */
  sleb(value: bigint): void {
    let rest = value;
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && low < 0x40) || (rest === -1n && low >= 0x40)) {
        this.u8(low);
        return;
      }
      this.u8(low | 0x80);
    }
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Writes a number of `size` bytes in a place that was written before. */
  set(at: number, value: number | bigint, size: number): void {
    if (size === 4) {
      this.#view.setUint32(at, Number(value), this.#little);
      return;
    }
    for (let i = 0; i < size; i += 1) {
      const place = this.#little ? i : size - 1 - i;
      this.#bytes[at + place] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
    }
  }

  /** What was written: a view that is good until more is written. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
