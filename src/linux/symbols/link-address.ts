import type { Kernel } from "../kernel.js";

/** Addresses of the kernel's half: smaller ones are offsets of per-CPU variables, which do not move. */
const UPPER_HALF = 1n << 63n;

/** The address that the linker gave a symbol: without the distance that KASLR moved the kernel. */
export function linkAddress(kernel: Kernel, address: bigint): bigint {
  return address >= UPPER_HALF ? BigInt.asUintN(64, address - kernel.slide) : address;
}

/** Where a linked address is in the running kernel. */
export function runAddress(kernel: Kernel, address: bigint): bigint {
  return address >= UPPER_HALF ? BigInt.asUintN(64, address + kernel.slide) : address;
}
