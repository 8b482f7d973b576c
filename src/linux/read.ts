import type { AddressSpace } from "./address-space.js";

/** Bytes added at a time, so that an announced length costs no memory that isn't there. */
const STEP = 1 << 20;

/** Up to `length` bytes from `va` on: as many as can be read. */
export async function readUpTo(space: AddressSpace, va: bigint, length: number): Promise<Uint8Array> {
  if (length <= STEP) {
    const bytes = new Uint8Array(Math.max(0, length));
    return bytes.subarray(0, await space.read(va, bytes));
  }
  let bytes = new Uint8Array(Math.min(length, 4 * STEP));
  let done = 0;
  while (done < length) {
    if (done === bytes.length) {
      const larger = new Uint8Array(Math.min(length, bytes.length * 2));
      larger.set(bytes);
      bytes = larger;
    }
    const part = bytes.subarray(done, Math.min(bytes.length, done + STEP));
    const n = await space.read(va + BigInt(done), part);
    done += n;
    if (n < part.length) break;
  }
  return bytes.subarray(0, done);
}

/** A little-endian u32; undefined when it can't be read. */
export async function readU32(space: AddressSpace, va: bigint): Promise<number | undefined> {
  const bytes = new Uint8Array(4);
  if ((await space.read(va, bytes)) < 4) return undefined;
  return new DataView(bytes.buffer).getUint32(0, true);
}

/** A little-endian u64; undefined when it can't be read. */
export async function readU64(space: AddressSpace, va: bigint): Promise<bigint | undefined> {
  const bytes = new Uint8Array(8);
  if ((await space.read(va, bytes)) < 8) return undefined;
  return new DataView(bytes.buffer).getBigUint64(0, true);
}
