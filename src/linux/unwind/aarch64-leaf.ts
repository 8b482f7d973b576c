import { viewOf } from "../../binary/layout.js";
import type { Kernel } from "../kernel.js";

/** The code of a kernel, with the names of its functions. */
export type KernelCode = Pick<Kernel, "place" | "stripPac" | "readVirtual">;

/** Bytes of a function that are looked at from its start. */
const MOST_CODE = 64 << 10;

/** `stp x29, x30, [sp, …]` in its three forms: what makes a frame record. */
const isFrameSetup = (word: number): boolean => {
  const form = (word & 0xffc0_0000) >>> 0;
  // pre-index, signed offset, post-index
  const isStore = form === 0xa980_0000 || form === 0xa900_0000 || form === 0xa880_0000;
  return isStore && (word & 0x7fff) === ((30 << 10) | (31 << 5) | 29);
};

/** `ret`, or one that authenticates first, or the authentication right before it: the record is gone already. */
const isReturn = (word: number): boolean =>
  word === 0xd65f_03c0 ||
  word === 0xd65f_0bff ||
  word === 0xd65f_0fff ||
  word === 0xd503_23bf ||
  word === 0xd503_23ff;

/** `bl` or `blr`, with and without authentication. */
const isCall = (word: number): boolean =>
  (word & 0xfc00_0000) >>> 0 === 0x9400_0000 || (word & 0xfeff_f000) >>> 0 === 0xd63f_0000;

/**
 * The caller of interrupted code that has no frame record of its own, which the walk along x29 would pass over: x30,
 * where no instruction before `pc` in its function makes a record (or the next one returns), where x30 is in another
 * function, and where it follows a call. Undefined otherwise.
 */
export async function leafCaller(kernel: KernelCode, pc: bigint, link: bigint): Promise<bigint | undefined> {
  const place = kernel.place(pc);
  const caller = kernel.stripPac(link);
  if (place === undefined || place.offset > MOST_CODE || caller === 0n) return undefined;
  const start = pc - BigInt(place.offset);
  if (caller >= start && caller < start + BigInt(Math.max(place.size, place.offset + 4))) return undefined;
  if (kernel.place(caller - 1n) === undefined) return undefined;
  const call = await words(kernel, caller - 4n, 4);
  if (call.length === 0 || !call.every(isCall)) return undefined;
  const code = await words(kernel, start, place.offset + 4);
  const next = code.at(-1);
  if (code.length * 4 < place.offset + 4 || next === undefined) return undefined;
  return isReturn(next) || !code.slice(0, -1).some(isFrameSetup) ? caller : undefined;
}

async function words(kernel: KernelCode, address: bigint, length: number): Promise<number[]> {
  const bytes = new Uint8Array(length);
  const n = await kernel.readVirtual(address, bytes);
  const view = viewOf(bytes);
  return Array.from({ length: Math.floor(n / 4) }, (_, i) => view.getUint32(i * 4, true));
}
