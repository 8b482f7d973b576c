import { type ByteOrder, type Decoded, type Layout, viewOf } from "../../binary/layout.js";
import type { RecordBody } from "../record.js";
import { hvmParamName } from "./hvm-params.js";
import { hvmParam, hvmParamsHeader, p2mFramesHeader, TSC_MODES, tscInfo, vcpuHeader } from "./layout.js";

/** Bytes of fixed-size entries that are decoded together. */
const PIECE = 64 << 10;

/** Indexes from here on are of no HVM parameter, in any release. */
const HVM_PARAM_LIMIT = 4096n;

/** Reads a fixed structure at the start of what is left of a body; undefined: the body or the input ends before. */
export async function readFields<F>(body: RecordBody, layout: Layout<F>): Promise<Decoded<F> | undefined> {
  if (!(await body.need(layout.size))) return undefined;
  const fields = layout.read(body.view, body.at, body.order);
  body.take(layout.size);
  return fields;
}

type EntryVisitor = (view: DataView, at: number, order: ByteOrder, i: number) => void;

/**
 * Visits the whole entries of `size` bytes that are left of a body, a piece at a time.
 * Returns false when the input ends before the last of them.
 */
export async function visitEntries(body: RecordBody, size: number, visit: EntryVisitor): Promise<boolean> {
  const total = Math.floor(body.remaining / size);
  const batch = Math.floor(PIECE / size);
  for (let first = 0; first < total; first += batch) {
    const count = Math.min(batch, total - first);
    if (!(await body.need(count * size))) return false;
    const { view, at, order } = body;
    for (let i = 0; i < count; i += 1) visit(view, at + i * size, order, first + i);
    body.take(count * size);
  }
  return true;
}

/** An entry of HVM_PARAMS. */
export interface HvmParam {
  /** As the entry holds it. */
  readonly index: bigint;
  /** The index where it can be of a parameter at all; undefined: no release has as many. */
  readonly known: number | undefined;
  /** `STORE_PFN`; undefined for an index that no release has. */
  readonly name: string | undefined;
  readonly value: bigint;
}

/** Decodes the entries of HVM_PARAMS, after its header. Returns false when the input ends before the last of them. */
export function visitHvmParams(
  body: RecordBody,
  visit: (param: HvmParam, i: number) => void,
): Promise<boolean> {
  const valueAt = hvmParam.offsetOf("value");
  return visitEntries(body, hvmParam.size, (view, at, order, i) => {
    const little = order === "little";
    const index = view.getBigUint64(at, little);
    const known = index < HVM_PARAM_LIMIT ? Number(index) : undefined;
    const name = known === undefined ? undefined : hvmParamName(known);
    visit({ index, known, name, value: view.getBigUint64(at + valueAt, little) }, i);
  });
}

/** The parameters of an HVM guest: the body of HVM_PARAMS. */
export interface HvmParams {
  /** By index, in the order of the entries; of one that occurs twice the last counts. */
  readonly params: ReadonlyMap<number, bigint>;
  /** Entries left out because no release has as many parameters. */
  readonly impossible: number;
}

/**
 * Reads HVM_PARAMS: the entries that its count announces, as far as the body has room for them.
 * Undefined: the body is too short for a header, or the input ends before the body does.
 */
export async function readHvmParams(body: RecordBody): Promise<HvmParams | undefined> {
  const header = await readFields(body, hvmParamsHeader);
  if (header === undefined) return undefined;
  const params = new Map<number, bigint>();
  let impossible = 0;
  const whole = await visitHvmParams(body, ({ known, value }, i) => {
    if (i >= header.count) return;
    if (known === undefined) impossible += 1;
    else params.set(known, value);
  });
  return whole ? { params, impossible } : undefined;
}

/** Decodes the pfns of X86_PV_P2M_FRAMES, after its header, as two words: 64 bits don't fit a number. */
export function visitP2mFrames(
  body: RecordBody,
  visit: (low: number, high: number, i: number) => void,
): Promise<boolean> {
  return visitEntries(body, 8, (view, at, order, i) => {
    const little = order === "little";
    visit(view.getUint32(little ? at : at + 4, little), view.getUint32(little ? at + 4 : at, little), i);
  });
}

/** Frames that the body of a X86_PV_P2M_FRAMES record of `length` bytes has room for. */
export function p2mFrameCount(length: number): number {
  return Math.max(0, Math.floor((length - p2mFramesHeader.size) / 8));
}

/** State of one vCPU of a PV guest: the body of X86_PV_VCPU_BASIC, _EXTENDED, _XSAVE or _MSRS. */
export interface VcpuRecord {
  readonly vcpuId: number;
  readonly state: Uint8Array;
}

/** Splits the whole body of a vCPU record; `state` is a view of it. Undefined: too short for its header. */
export function decodeVcpuRecord(body: Uint8Array, order: ByteOrder): VcpuRecord | undefined {
  if (body.length < vcpuHeader.size) return undefined;
  const { vcpuId } = vcpuHeader.read(viewOf(body), 0, order);
  return { vcpuId, state: body.subarray(vcpuHeader.size) };
}

/** How the guest's time stamp counter goes on: the body of X86_TSC_INFO. */
export interface TscInfo {
  readonly mode: number;
  readonly khz: number;
  /** Elapsed guest time in nanoseconds. */
  readonly nsec: bigint;
  /** Times the guest was restored. */
  readonly incarnation: number;
}

/** Reads X86_TSC_INFO; undefined: the body or the input ends before. */
export async function readTscInfo(body: RecordBody): Promise<TscInfo | undefined> {
  return readFields(body, tscInfo);
}

/** X86_TSC_INFO as documents show it: its mode by name, nanoseconds in decimal. */
export interface TscSummary {
  readonly mode: string;
  readonly khz: number;
  readonly nsec: string;
  readonly incarnation: number;
}

/** Describes X86_TSC_INFO for documents. */
export function summarizeTsc({ mode, khz, nsec, incarnation }: TscInfo): TscSummary {
  return { mode: TSC_MODES[mode] ?? `mode ${mode}`, khz, nsec: String(nsec), incarnation };
}
