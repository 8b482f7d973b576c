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
  TSC_MODE_LIMIT,
  TYPE,
} from "./layout.js";
import { findPvTail, type PvTail } from "./pv-tail.js";

/*
 * Chunks follow one another without marks and in any order. A batch of pages proves itself by its entries: pfns within
 * the guest, ascending.
 */

/** Chunks in a row that are checked after a lost part. */
const PROOF = 3;
/** Chunks of state that follow the last batch. */
const MOST_STATE = 64;
/** Chunks that are gone over for the proof of the first ones. */
const MOST_FIRST = 16;
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
  /** Undefined: not known. */
  readonly isHvm: boolean | undefined;
  readonly p2mSize: number;
  /** Bytes of a vCPU's state in the tail of a PV stream; undefined: not known. */
  readonly vcpuSize: number | undefined;
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
  | {
      readonly kind: "state";
      readonly next: number;
      /** vCPUs that are online, where the chunk says it. */
      readonly online?: number;
      /** Only the stream of an HVM guest has it. */
      readonly isHvm?: true;
    }
  | { readonly kind: "end"; readonly next: number; readonly tail: WalkedTail }
  | { readonly kind: "coded"; readonly next: number };

/** What follows the end of a body: `end` is the offset after it, undefined where that isn't known. */
export type WalkedTail =
  | { readonly guest: "hvm"; readonly end: number | undefined }
  | { readonly guest: "pv"; readonly end: number; readonly pv?: PvTail };

/** Chunks as they follow one another in a stream that may be damaged. */
export class ChunkWalk {
  readonly #input: ByteSource;
  readonly #form: LegacyForm;
  readonly #head = new Uint8Array(32);

  constructor(input: ByteSource, form: LegacyForm) {
    this.#input = input;
    this.#form = form;
  }

  /**
   * The chunk at an offset; undefined: none that can be right.
   * @param lenient entries of a batch may be wrong
   * @param online vCPUs that chunks before said to be online
   */
  async chunk(at: number, lenient = false, online = 1): Promise<WalkedChunk | undefined> {
    const n = await readBefore(this.#input, at, this.#head);
    if (n < 4) return undefined;
    const view = viewOf(this.#head);
    const id = view.getInt32(0, true);
    if (id > 0) return this.batch(at, id, lenient);
    const state = (length: number): WalkedChunk | undefined => {
      const next = at + 4 + length;
      return next <= this.#input.size ? { kind: "state", next } : undefined;
    };
    if (id === CHUNK.endOfBody) {
      const tail = await this.#tail(at + 4, online);
      return tail === undefined ? undefined : { kind: "end", next: at + 4, tail };
    }
    if (PARAMETER_CHUNKS.has(id)) {
      const parameter = view.getUint32(4, true) === 0 ? state(12) : undefined;
      return parameter?.kind === "state" ? { ...parameter, isHvm: true } : undefined;
    }
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
        if (highest < 0 || highest > MAX_VCPU) return undefined;
        const map = new Uint8Array(8 * (Math.floor(highest / 64) + 1));
        const length = await readBefore(this.#input, at + 8, map);
        const found = state(4 + map.length);
        return length < map.length || found === undefined
          ? undefined
          : { kind: "state", next: found.next, online: onlineIn(map, highest) };
      }
      case CHUNK.tscInfo:
        return view.getUint32(4, true) < TSC_MODE_LIMIT ? state(TSC_INFO.size) : undefined;
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
      const isType =
        this.#form.isHvm === true
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

  /** The tail of a stream that may be at an offset: zeros look like the end of a body. */
  async #tail(at: number, online: number): Promise<WalkedTail | undefined> {
    const { isHvm, ulongSize, vcpuSize } = this.#form;
    const hvm = isHvm === false ? undefined : await this.#hvmTail(at);
    if (hvm !== undefined || isHvm === true) return hvm;
    if (vcpuSize !== undefined) return this.#pvTail(at, vcpuSize);
    const pv = await findPvTail(this.#input, at, ulongSize, online, (end) => this.#isBody(end));
    return pv === undefined ? undefined : { guest: "pv", end: pv.end, pv };
  }

  /** Whether the body of another checkpoint begins at an offset: with a batch that proves itself, or two chunks of state. */
  async #isBody(at: number): Promise<boolean> {
    const id = new Uint8Array(4);
    let next = at;
    for (let count = 0; count < 2; count += 1) {
      // an end of a body would be looked at for a tail again
      const n = await readBefore(this.#input, next, id);
      if (n < id.length || viewOf(id).getInt32(0, true) === CHUNK.endOfBody) return false;
      const chunk = await this.chunk(next);
      if (chunk?.kind === "batch") return isProving(chunk.entries);
      // compressed memory goes on in the next body
      if (chunk?.kind !== "state") return count > 0 && chunk?.kind === "coded";
      next = chunk.next;
    }
    return true;
  }

  async #pvTail(at: number, vcpuSize: number): Promise<WalkedTail | undefined> {
    const { p2mSize, ulongSize } = this.#form;
    const head = new Uint8Array(4);
    if ((await readBefore(this.#input, at, head)) < head.length) return undefined;
    const count = viewOf(head).getUint32(0, true);
    const vcpus = (this.#input.size - (at + 4 + count * ulongSize + PAGE)) / vcpuSize;
    if (count > p2mSize || vcpus < 1 || vcpus > MOST_VCPUS || !Number.isInteger(vcpus)) return undefined;
    const pfns = new Uint8Array(Math.min(count, BATCH_LIMIT) * ulongSize);
    await readBefore(this.#input, at + 4, pfns);
    const view = viewOf(pfns);
    for (let i = 0; i < pfns.length; i += ulongSize) if (view.getUint32(i, true) >= p2mSize) return undefined;
    return { guest: "pv", end: this.#input.size };
  }

  async #hvmTail(at: number): Promise<WalkedTail | undefined> {
    const tail = new Uint8Array(HVM_TAIL_SIZE);
    if ((await readBefore(this.#input, at, tail)) < tail.length) return undefined;
    const view = viewOf(tail);
    for (const pfn of [0, 8, 16]) if (view.getUint32(pfn + 4, true) >= PFN_HIGH_LIMIT) return undefined;
    const length = view.getUint32(HVM_TAIL_SIZE - 4, true);
    const end = at + HVM_TAIL_SIZE + length;
    const { size } = this.#input;
    if (length === 0 || length > MOST_CONTEXT || end > size) return undefined;
    if (end === size) return { guest: "hvm", end };
    const record = new Uint8Array(QEMU_SIGNATURE_SIZE + 4);
    const n = await readBefore(this.#input, end, record);
    const signature = QEMU_SIGNATURES.get(latin1(record.subarray(0, QEMU_SIGNATURE_SIZE)));
    if (signature === undefined) return undefined;
    if (!signature.sized) return { guest: "hvm", end: size };
    const after = end + record.length + viewOf(record).getUint32(QEMU_SIGNATURE_SIZE, true);
    return { guest: "hvm", end: n < record.length || after > size ? undefined : after };
  }

  /** How many chunks in a row begin at a place; 0 where they prove nothing. */
  async proof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    let online: number | undefined;
    // state alone proves nothing until the tail is reached
    for (let at = offset; count < (isProven ? PROOF : MOST_STATE); count += 1) {
      const chunk = await this.chunk(at, false, online);
      if (chunk === undefined || chunk.next > this.#input.size) return 0;
      if (chunk.kind === "end") return this.#form.isHvm === true || isProven || count > 0 ? count + 1 : 0;
      if (chunk.kind === "coded") return 0;
      if (chunk.kind === "state") online = chunk.online ?? online;
      if (chunk.kind === "batch") isProven ||= isProving(chunk.entries);
      at = chunk.next;
    }
    return isProven ? count : 0;
  }

  /**
   * How many chunks in a row begin at a place of a stream of which nothing is known; 0 where they prove nothing: small
   * numbers of any memory look like batches of few pages, so that these don't count.
   */
  async firstProof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    let online: number | undefined;
    for (let at = offset, chunks = 0; count < PROOF || !isProven; chunks += 1) {
      const chunk = chunks < MOST_FIRST ? await this.chunk(at, false, online) : undefined;
      if (chunk === undefined || chunk.kind === "coded" || chunk.next > this.#input.size) return 0;
      if (chunk.kind === "end") return isProven ? count + 1 : 0;
      if (chunk.kind === "state") online = chunk.online ?? online;
      const isBatch = chunk.kind === "batch" && isProving(chunk.entries);
      isProven ||= isBatch;
      if (isBatch || (chunk.kind === "state" && chunk.next > at + 4)) count += 1;
      at = chunk.next;
    }
    return count;
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
    // ones are rather damage than the start of a pass that is compared, whose batches bring nothing new
    return id >= LAST_CHUNK && id !== CHUNK.verifyMode && (id < 0 || view.getUint32(at + 4, true) !== 0);
  }
}

/** Whether a batch proves itself by its entries. */
const isProving = (entries: Uint32Array): boolean =>
  entries.length >= PROVING && outOfOrder(pfnsOf(entries)).length === 0;

/** vCPUs that a map says to be online. */
function onlineIn(map: Uint8Array, highest: number): number {
  let online = 0;
  for (let id = 0; id <= highest; id += 1) online += ((map[id >> 3] ?? 0) >> (id & 7)) & 1;
  return online;
}

/** pfns of entries, for their order. */
export function pfnsOf(entries: Uint32Array): Float64Array {
  return Float64Array.from(entries, (entry) =>
    entry === WRONG ? WRONG_PFN : entry >>> 28 === TYPE.invalid ? NO_PFN : entry & 0x0fff_ffff,
  );
}
