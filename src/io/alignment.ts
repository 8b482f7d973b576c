import type { ByteSource } from "./byte-source.js";

/**
 * Where allocations begin. Processors copy three times as slowly to an address that is a few bytes more than the one they
 * copy from, modulo a page: an address that is what the offset in a file is, modulo this, is never one of those.
 */
export const ALIGNMENT = 16;

/** Bytes after an allocation's start where what is read from `offset` of a source on is aligned as in its file. */
export function alignmentOf({ file }: Pick<ByteSource, "file">, offset: number): number {
  return ((file?.offset ?? 0) + offset) % ALIGNMENT;
}

/** The least multiple of `unit` that isn't less than a value. */
export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
