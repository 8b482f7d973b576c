import { type ByteOrder, viewOf } from "../../binary/layout.js";
import {
  type Header,
  type KdumpForm,
  type SubHeader,
  subHeader32,
  subHeader32Aligned,
  subHeader64,
} from "./layout.js";

/** Forms of the sub-header by width. */
export const SUB_LAYOUTS = { 64: [subHeader64], 32: [subHeader32, subHeader32Aligned] } as const;

/** Where a dump's parts may be. */
export interface Geometry {
  readonly form: KdumpForm;
  readonly blockSize: number;
  readonly subBlocks: number;
  readonly bitmapBlocks: number;
}

/** Where the descriptors of a geometry begin, in bytes. */
export const descriptorsOf = ({ blockSize, subBlocks, bitmapBlocks }: Geometry): number =>
  (1 + subBlocks + bitmapBlocks) * blockSize;

/** Numbers of a sub-header, as far as they can be any. */
export type Numbers = Partial<Record<keyof SubHeader, number>>;

/** The members of a structure one by one: what can't be a number is left out. */
export function numbersOf(
  known: (typeof SUB_LAYOUTS)[32 | 64][number],
  bytes: Uint8Array,
  order: ByteOrder,
): Numbers {
  const view = viewOf(bytes);
  const little = order === "little";
  const numbers: Numbers = {};
  for (const { name, offset, size } of known.fields) {
    if (name.startsWith("padding") || offset + size > bytes.length) continue;
    const word = size === 4 ? BigInt(view.getUint32(offset, little)) : view.getBigUint64(offset, little);
    // the kernel may be moved down
    const value = Number(name === "phys_base" ? BigInt.asIntN(size * 8, word) : word);
    if (Number.isSafeInteger(value)) numbers[name as keyof SubHeader] = value;
  }
  return numbers;
}

/** Frames of a part of a split dump. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

/** What a sub-header may say of the part of a dump that is here: all of it, or frames by one pair of numbers or the other. */
export function partsOf(sub: Numbers, frames: number): readonly (Part | undefined)[] {
  const pairs = [
    [sub.start_pfn_64, sub.end_pfn_64],
    [sub.start_pfn, sub.end_pfn],
    [sub.start_pfn_64, sub.end_pfn],
    [sub.start_pfn, sub.end_pfn_64],
  ] as const;
  const parts = pairs.flatMap(([start = 0, end = 0]) =>
    start < end && end <= frames ? [{ start, end }] : [],
  );
  return [...parts, undefined];
}

/** Blocks that the sub-header and its notes take. */
export function blocksOfNotes(
  { offset_note: at = 0, size_note: size = 0 }: Numbers,
  blockSize: number,
): number {
  return Math.ceil(Math.max(0, at + size - blockSize) / blockSize);
}

/** A header none of whose sizes is right: names that can be any, and nothing of its other numbers. */
export function withoutJunk(header: Header): Header {
  const name = (text: string): string => (/^[ -~]*$/.test(text) ? text : "");
  return {
    ...header,
    sysname: name(header.sysname),
    nodename: name(header.nodename),
    release: name(header.release),
    version: name(header.version),
    machine: name(header.machine),
    domainname: name(header.domainname),
    status: 0,
    total_ram_blocks: 0,
    device_blocks: 0,
    written_blocks: 0,
    current_cpu: 0,
    nr_cpus: 0,
  };
}

/** Blocks of a sub-header with its notes at most. */
const MOST_NOTES = 64;

/** Whether a sub-header's numbers say of notes, and of frames, what can be. */
export function leadsToNotes(sub: Numbers, blockSize: number): boolean {
  const { offset_note: at = 0, size_note: size = 0, max_mapnr_64: frames = 0 } = sub;
  const end = (1 + MOST_NOTES) * blockSize;
  return at > blockSize && size > 0 && at + size <= end && frames * blockSize < 2 ** 53;
}

/** Where the notes are: where the sub-header says, else from its end to the end of its blocks. */
export function placeOfNotes(sub: Numbers, geometry: Geometry, size: number): { at: number; size: number } {
  const stated = insideOf(sub.offset_note, sub.size_note, geometry);
  if (stated.size > 0) return stated;
  const at = geometry.blockSize + size;
  return { at, size: (1 + geometry.subBlocks) * geometry.blockSize - at };
}

/** A place that is inside a geometry's sub-header blocks, after their start, or without a geometry before the file's end; zeros for another. */
export function insideOf(at = 0, size = 0, geometry?: Geometry, fileEnd = 0): { at: number; size: number } {
  const start = geometry?.blockSize ?? 0;
  const end = geometry === undefined ? fileEnd : (1 + geometry.subBlocks) * geometry.blockSize;
  return size > 0 && at > start && at + size <= end ? { at, size } : { at: 0, size: 0 };
}
