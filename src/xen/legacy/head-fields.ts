import { latin1Bytes, viewOf } from "../../binary/layout.js";
import type { HeadPart } from "../../guest/head-parts.js";
import { indexOfBytes } from "../../io/byte-search.js";
import type { LegacyCensus } from "./head-census.js";
import {
  EXTENDED_BLOCK,
  type GuestKind,
  P2M_SIZE_LIMIT,
  PAGE,
  TSC_INFO,
  VCPU_CONTEXT,
  XSAVE_HEAD,
  XSAVE_LIMIT,
} from "./layout.js";
import { PfnSet } from "./pfn-set.js";
import type { VcpuShape } from "./pv-tail.js";
import { basesAfterConfig, isXlHead, statedBase, type XlHead, xlHeadBefore } from "./xl-head.js";

/*
 * Fields of a head follow one another: an xl header with the configuration; p2m_size; of a PV guest all ones, its extended
 * info and its list of p2m frames; then chunks. Where they begin is tried by each of them that may be whole, and what
 * most of them agree on is taken.
 */

/** Fields of a head, each undefined where it isn't whole. */
export interface HeadFields {
  /** Undefined: there is none. */
  readonly xl: XlHead | undefined;
  /** Whether nothing shows what is before p2m_size. */
  readonly isAfterUnknown: boolean;
  readonly guest: GuestKind | undefined;
  readonly p2mSize: number | undefined;
  /** A PV guest's stream has all ones after p2m_size. */
  readonly isSigned: boolean;
  readonly shape: VcpuShape | undefined;
  readonly p2mFrames: Uint32Array | undefined;
  /** In order; the last is what is between the head and the first chunk that was found. */
  readonly parts: readonly HeadPart[];
}

/** What is known of a stream beside its head. */
export interface Shown {
  readonly ulongSize: 4 | 8;
  readonly census: LegacyCensus;
  readonly guest: GuestKind | undefined;
  /** Bytes of a PV guest's word. */
  readonly guestWidth: 4 | 8 | undefined;
  /** States of its vCPUs, by the tail. */
  readonly shape: VcpuShape | undefined;
}

/** Bytes of the smallest extended info with its length. */
const LEAST_INFO = 4 + EXTENDED_BLOCK.size * 2 + VCPU_CONTEXT[4];
/** Bytes of the chunk of the TSC's state, which may be damaged too. */
export const TSC_SIZE = 4 + TSC_INFO.size;
const VCPU_ID = latin1Bytes("vcpu");

/** Finds the fields of a head. @param bytes of the input, up to the first chunk that was found */
export function findFields(bytes: Uint8Array, shown: Shown): HeadFields {
  const isXl = isXlHead(bytes);
  let best: (HeadFields & { readonly score: number }) | undefined;
  for (const base of new Set(basesOf(bytes, shown, isXl))) {
    if (base < 0 || base + shown.ulongSize > bytes.length) continue;
    const fields = fieldsAt(bytes, base, shown, isXl);
    if (best === undefined || fields.score > best.score) best = fields;
  }
  if (best !== undefined) return best;
  const { length } = bytes;
  const parts = [0, length].map((start) => ({ start, end: length, isWhole: false }));
  const none = { guest: undefined, p2mSize: undefined, shape: undefined, p2mFrames: undefined };
  return { ...none, xl: undefined, isAfterUnknown: true, isSigned: false, parts };
}

/** Where p2m_size may be, the likelier places first. */
function basesOf(bytes: Uint8Array, { ulongSize, shape, census }: Shown, isXl: boolean): number[] {
  const end = bytes.length;
  const bases = isXl ? [statedBase(bytes), ...basesAfterConfig(bytes)] : [0];
  for (let at = indexOfBytes(bytes, VCPU_ID, 0); at >= 0 && bases.length < MOST_BASES; ) {
    const block = at + EXTENDED_BLOCK.size <= end && EXTENDED_BLOCK.read(viewOf(bytes), at, "little");
    if (block !== false && CONTEXTS.has(block.size)) bases.push(at - 4 - 2 * ulongSize);
    at = indexOfBytes(bytes, VCPU_ID, at + 1);
  }
  const { p2mSize } = census;
  const isPv = shape !== undefined && p2mSize !== undefined;
  const before = isPv
    ? 2 * ulongSize + infoSize(shape) + p2mFrameCount(p2mSize, shape.guestWidth) * ulongSize
    : ulongSize;
  return [...bases, end - before, end - TSC_SIZE - before];
}

const MOST_BASES = 64;
const CONTEXTS: ReadonlySet<number> = new Set(Object.values(VCPU_CONTEXT));

/** Pages that hold the p2m table of a PV guest. */
function p2mFrameCount(p2mSize: number, guestWidth: 4 | 8): number {
  return Math.ceil(p2mSize / (PAGE / guestWidth));
}

/** Bytes of extended info with its length. */
function infoSize({ guestWidth, extended, xsaveSize }: VcpuShape): number {
  const blocks = EXTENDED_BLOCK.size * (1 + (extended ? 1 : 0) + (xsaveSize === undefined ? 0 : 1));
  return 4 + blocks + VCPU_CONTEXT[guestWidth] + (xsaveSize === undefined ? 0 : 4);
}

function fieldsAt(
  bytes: Uint8Array,
  base: number,
  shown: Shown,
  isXl: boolean,
): HeadFields & { readonly score: number } {
  const { ulongSize, census } = shown;
  const view = viewOf(bytes);
  const { length } = bytes;
  const xl = isXl ? xlHeadBefore(bytes, base) : undefined;
  const stated = ulongAt(view, base, ulongSize);
  const isP2m =
    stated !== undefined &&
    stated > Math.max(0, census.highestInRow) &&
    stated <= P2M_SIZE_LIMIT &&
    (census.p2mSize ?? stated) === stated;
  const p2mSize = isP2m ? stated : undefined;
  const signature = bytes.subarray(base + ulongSize, base + 2 * ulongSize);
  const isSigned = signature.length === ulongSize && signature.every((byte) => byte === 0xff);
  const infoAt = base + 2 * ulongSize;
  const info = statedInfo(view, infoAt, shown);
  const hasRoom = length - base - ulongSize >= LEAST_INFO;
  const guest =
    shown.guest ?? (info !== undefined || (isSigned && hasRoom) ? "pv" : hasRoom ? undefined : "hvm");
  const xlScore =
    xl === undefined ? (base === 0 ? 1 : 0) : xl.parts.filter(({ isWhole }) => isWhole).length * 2;
  const before: HeadPart[] = [
    ...(xl?.parts ?? [{ start: 0, end: base, isWhole: false }]),
    { start: base, end: base + ulongSize, isWhole: isP2m },
  ];
  const fields = { xl, isAfterUnknown: xl === undefined && base > 0, guest, p2mSize, isSigned };
  const score = xlScore + (isP2m ? 2 : 0);
  if (guest !== "pv") {
    const end = base + ulongSize;
    const parts = [...before, { start: end, end: length, isWhole: false }];
    return {
      ...fields,
      shape: undefined,
      p2mFrames: undefined,
      parts,
      score: score + reach(end, length),
    };
  }
  const shape = info?.shape ?? shown.shape;
  const guestWidth = shape?.guestWidth ?? shown.guestWidth;
  const infoEnd = info?.end ?? (shape === undefined ? undefined : infoAt + infoSize(shape));
  const size = p2mSize ?? census.p2mSize;
  const count =
    size === undefined || guestWidth === undefined
      ? (length - (infoEnd ?? length)) / ulongSize
      : p2mFrameCount(size, guestWidth);
  const listAt = infoEnd ?? infoAt;
  const end = listAt + count * ulongSize;
  const p2mFrames =
    infoEnd !== undefined && Number.isInteger(count) && count > 0 && end <= length
      ? framesAt(view, listAt, count, { ulongSize, p2mSize: size ?? P2M_SIZE_LIMIT, census })
      : undefined;
  const parts = [
    ...before,
    { start: base + ulongSize, end: infoAt, isWhole: isSigned },
    { start: infoAt, end: Math.min(listAt, length), isWhole: info !== undefined },
    { start: listAt, end: Math.min(end, length), isWhole: p2mFrames !== undefined },
    { start: Math.min(end, length), end: length, isWhole: false },
  ];
  const agreed = [isSigned, isSigned, info, info, p2mFrames].filter(Boolean).length;
  return { ...fields, shape: info?.shape, p2mFrames, parts, score: score + agreed + reach(end, length) };
}

/** How much it says for a head that its end is at the first chunk that was found, or right before the TSC's state. */
const reach = (end: number, first: number): number => (end === first || end + TSC_SIZE === first ? 2 : 0);

/** A `ulong` of up to 32 bits; undefined: it is larger, or isn't there. */
function ulongAt(view: DataView, at: number, ulongSize: 4 | 8): number | undefined {
  if (at + ulongSize > view.byteLength) return undefined;
  return ulongSize === 8 && view.getUint32(at + 4, true) !== 0 ? undefined : view.getUint32(at, true);
}

/** Extended info whose blocks are as long as it says, and of what is known; undefined: it is damaged. */
function statedInfo(
  view: DataView,
  at: number,
  shown: Shown,
): { readonly shape: VcpuShape; readonly end: number } | undefined {
  if (at + 4 > view.byteLength) return undefined;
  const start = at + 4;
  const end = start + view.getUint32(at, true);
  if (end > view.byteLength) return undefined;
  let guestWidth: 4 | 8 | undefined;
  let extended = false;
  let xsaveSize: number | undefined;
  for (let block = start; block < end; ) {
    const body = block + EXTENDED_BLOCK.size;
    if (body > end) return undefined;
    const { id, size } = EXTENDED_BLOCK.read(view, block, "little");
    if (body + size > end) return undefined;
    if (id === "vcpu" && CONTEXTS.has(size)) guestWidth = size === VCPU_CONTEXT[8] ? 8 : 4;
    else if (id === "extv") extended = true;
    else if (id === "xcnt" && size === 4) xsaveSize = view.getUint32(body, true) - XSAVE_HEAD;
    else return undefined;
    block = body + size;
  }
  if (guestWidth === undefined || (xsaveSize ?? 0) < 0 || (xsaveSize ?? 0) > XSAVE_LIMIT - XSAVE_HEAD)
    return undefined;
  const { shape } = shown;
  const isShown =
    shape === undefined
      ? (shown.guestWidth ?? guestWidth) === guestWidth
      : shape.guestWidth === guestWidth && shape.extended === extended && shape.xsaveSize === xsaveSize;
  return isShown ? { shape: { guestWidth, extended, xsaveSize }, end } : undefined;
}

/** Entries of a list of p2m frames; undefined: one can't be right. */
function framesAt(
  view: DataView,
  at: number,
  count: number,
  { ulongSize, p2mSize, census }: { ulongSize: 4 | 8; p2mSize: number; census: LegacyCensus },
): Uint32Array | undefined {
  const end = at + count * ulongSize;
  const frames = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) {
    const pfn = ulongAt(view, at + i * ulongSize, ulongSize);
    if (pfn === undefined) return undefined;
    frames[i] = pfn;
  }
  return areFrames(frames, p2mSize, (pfn) => census.mayBeNormal(pfn, reach(end, view.byteLength) > 0))
    ? frames
    : undefined;
}

/** Whether pfns may be those of the p2m table: each once, none of them the first page of memory, all normal pages. */
export function areFrames(frames: Uint32Array, p2mSize: number, isNormal: (pfn: number) => boolean): boolean {
  const seen = new PfnSet();
  for (const pfn of frames) {
    if (pfn === 0 || pfn >= p2mSize || seen.has(pfn) || !isNormal(pfn)) return false;
    seen.add(pfn);
  }
  return true;
}
