import { latin1, viewOf } from "../../binary/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { NO_PFN, outOfOrder, WRONG_PFN } from "../page-order.js";
import {
  BATCH_LIMIT,
  CHUNK,
  hasData,
  PAGE,
  PARAMETER_CHUNKS,
  QEMU_SIGNATURE_SIZE,
  QEMU_SIGNATURES,
  TSC_INFO,
  TYPE,
} from "./layout.js";

/*
 * Chunks follow one another without marks and in any order. A batch of pages proves itself by its entries: pfns within
 * the guest, ascending.
 */

/** Chunks in a row that are checked after a lost part. */
const PROOF = 3;
/** Chunks of state that follow the last batch. */
const MOST_STATE = 64;
/** Pages from which on a batch proves itself. */
export const PROVING = 4;
/** Bytes of a toolstack chunk: a real one has a few hundred. */
const MOST_TOOLSTACK = 1 << 20;
const MOST_CONTEXT = 1 << 24;
/** No machine has frames from 2^40 on: of that the upper word's share. */
const PFN_HIGH_LIMIT = 0x100;
/** Bytes of the pfns in the tail of an HVM stream, and of the length after them. */
const HVM_TAIL_SIZE = 28;
const MAX_VCPU = 4095;
/** vCPUs of a PV guest: no real one has more. */
const MOST_VCPUS = 512;
const LAST_CHUNK = -21;
/** An entry that can't be right. */
export const WRONG = 0xffff_ffff;

/** What a stream's header says. */
export interface LegacyForm {
  /** Offset of the first chunk. */
  readonly first: number;
  readonly ulongSize: 4 | 8;
  readonly isHvm: boolean;
  readonly p2mSize: number;
  /** Bytes of a vCPU's state in the tail of a PV stream. */
  readonly vcpuSize: number;
  /** The ordinary reader goes through to the end: only entries of batches can be damaged. */
  readonly isReadable: boolean;
  /** The guest was stopped before its memory was sent: of a guest that runs the TSC's state comes after some memory. */
  readonly isStopped: boolean;
}

/** A chunk by what it takes to go on after it: `next` is the offset of the one that follows. */
export type WalkedChunk =
  | {
      readonly kind: "batch";
      readonly next: number;
      readonly entries: Uint32Array;
      readonly contents: number;
    }
  | { readonly kind: "state" | "end" | "coded"; readonly next: number };

/** Chunks as they follow one another in a stream that may be damaged. */
export class ChunkWalk {
  readonly #input: ByteSource;
  readonly #form: LegacyForm;
  readonly #head = new Uint8Array(32);

  constructor(input: ByteSource, form: LegacyForm) {
    this.#input = input;
    this.#form = form;
  }

  /** The chunk at an offset; undefined: none that can be right. @param lenient entries of a batch may be wrong */
  async chunk(at: number, lenient = false): Promise<WalkedChunk | undefined> {
    const n = await readBefore(this.#input, at, this.#head);
    if (n < 4) return undefined;
    const view = viewOf(this.#head);
    const id = view.getInt32(0, true);
    if (id > 0) return this.batch(at, id, lenient);
    const state = (length: number): WalkedChunk | undefined => {
      const next = at + 4 + length;
      return next <= this.#input.size ? { kind: "state", next } : undefined;
    };
    if (id === CHUNK.endOfBody)
      return (await this.#isTail(at + 4)) ? { kind: "end", next: at + 4 } : undefined;
    if (PARAMETER_CHUNKS.has(id)) return view.getUint32(4, true) === 0 ? state(12) : undefined;
    switch (id) {
      case CHUNK.verifyMode: {
        // all pages follow once more; bytes of ones look like it
        const count = view.getInt32(4, true);
        return count > 0 && count <= BATCH_LIMIT ? state(0) : undefined;
      }
      case CHUNK.lastCheckpoint:
        return state(0);
      case CHUNK.vcpuInfo: {
        const highest = view.getInt32(4, true);
        return highest >= 0 && highest <= MAX_VCPU
          ? state(4 + 8 * (Math.floor(highest / 64) + 1))
          : undefined;
      }
      case CHUNK.tscInfo:
        return view.getUint32(4, true) < 4 ? state(TSC_INFO.size) : undefined;
      case CHUNK.toolstack: {
        const length = view.getUint32(4, true);
        return length <= MOST_TOOLSTACK ? state(4 + length) : undefined;
      }
      case CHUNK.enableCompression:
      case CHUNK.compressedData:
        return { kind: "coded", next: at };
      default:
        return undefined;
    }
  }

  /** The batch at an offset, of `count` entries. */
  async batch(at: number, count: number, lenient: boolean): Promise<WalkedChunk | undefined> {
    const { ulongSize, p2mSize } = this.#form;
    if (count > BATCH_LIMIT) return undefined;
    const bytes = new Uint8Array(count * ulongSize);
    if ((await readBefore(this.#input, at + 4, bytes)) < bytes.length) return undefined;
    const view = viewOf(bytes);
    const entries = new Uint32Array(count);
    let pages = 0;
    for (let i = 0; i < count; i += 1) {
      const entry = view.getUint32(i * ulongSize, true);
      const high = ulongSize === 8 ? view.getUint32(i * ulongSize + 4, true) : 0;
      const type = entry >>> 28;
      // an HVM guest's pages are of no page table type
      const isType = this.#form.isHvm
        ? type === TYPE.normal || type >= TYPE.broken
        : hasData(type) || type >= TYPE.broken;
      const isRight = high === 0 && isType && (entry & 0x0fff_ffff) < p2mSize;
      if (!isRight && !lenient) return undefined;
      entries[i] = isRight ? entry : WRONG;
      if (isRight && hasData(type)) pages += 1;
    }
    const contents = at + 4 + bytes.length;
    return { kind: "batch", next: contents + pages * PAGE, entries, contents };
  }

  /** Whether the tail of a stream may be at an offset: zeros look like the end of a body. */
  async #isTail(at: number): Promise<boolean> {
    const { isHvm, p2mSize, ulongSize, vcpuSize } = this.#form;
    if (!isHvm) {
      const head = new Uint8Array(4);
      if ((await readBefore(this.#input, at, head)) < head.length) return false;
      const count = viewOf(head).getUint32(0, true);
      const vcpus = (this.#input.size - (at + 4 + count * ulongSize + PAGE)) / vcpuSize;
      if (count > p2mSize || vcpus < 1 || vcpus > MOST_VCPUS || !Number.isInteger(vcpus)) return false;
      const pfns = new Uint8Array(Math.min(count, BATCH_LIMIT) * ulongSize);
      await readBefore(this.#input, at + 4, pfns);
      const view = viewOf(pfns);
      for (let i = 0; i < pfns.length; i += ulongSize) if (view.getUint32(i, true) >= p2mSize) return false;
      return true;
    }
    const tail = new Uint8Array(HVM_TAIL_SIZE);
    if ((await readBefore(this.#input, at, tail)) < tail.length) return false;
    const view = viewOf(tail);
    for (const pfn of [0, 8, 16]) if (view.getUint32(pfn + 4, true) >= PFN_HIGH_LIMIT) return false;
    const length = view.getUint32(HVM_TAIL_SIZE - 4, true);
    const end = at + HVM_TAIL_SIZE + length;
    if (length === 0 || length > MOST_CONTEXT || end > this.#input.size) return false;
    if (end === this.#input.size) return true;
    const signature = new Uint8Array(QEMU_SIGNATURE_SIZE);
    await readBefore(this.#input, end, signature);
    return QEMU_SIGNATURES.has(latin1(signature));
  }

  /** How many chunks in a row begin at a place; 0 where they prove nothing. */
  async proof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    // state alone proves nothing until the tail is reached
    for (let at = offset; count < (isProven ? PROOF : MOST_STATE); count += 1) {
      const chunk = await this.chunk(at);
      if (chunk === undefined || chunk.next > this.#input.size) return 0;
      if (chunk.kind === "end") return this.#form.isHvm || isProven || count > 0 ? count + 1 : 0;
      if (chunk.kind === "coded") return 0;
      if (chunk.kind === "batch")
        isProven ||= chunk.entries.length >= PROVING && outOfOrder(pfnsOf(chunk.entries)).length === 0;
      at = chunk.next;
    }
    return isProven ? count : 0;
  }

  /** Whether a chunk may begin at a place, by its first 20 bytes: what is cheap to see. */
  isLikely(view: DataView, at: number): boolean {
    const id = view.getInt32(at, true);
    if (id > 0) {
      if (id > BATCH_LIMIT) return false;
      const { ulongSize, p2mSize } = this.#form;
      const first = view.getUint32(at + 4, true);
      const second = view.getUint32(at + 4 + ulongSize, true);
      if (ulongSize === 8 && (view.getUint32(at + 8, true) !== 0 || view.getUint32(at + 16, true) !== 0))
        return false;
      const pfn = first & 0x0fff_ffff;
      // the entries of a batch, read from one of them on: its pfn as the count, the next as the first
      if (first === id + 1) return false;
      const isAscending = id === 1 || (second & 0x0fff_ffff) > pfn || second >>> 28 === TYPE.invalid;
      return pfn < p2mSize && isAscending;
    }
    return id >= LAST_CHUNK && (id < 0 || view.getUint32(at + 4, true) !== 0);
  }
}

/** pfns of entries, for their order. */
export function pfnsOf(entries: Uint32Array): Float64Array {
  return Float64Array.from(entries, (entry) =>
    entry === WRONG ? WRONG_PFN : entry >>> 28 === TYPE.invalid ? NO_PFN : entry & 0x0fff_ffff,
  );
}
