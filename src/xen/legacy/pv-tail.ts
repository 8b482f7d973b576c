import { viewOf } from "../../binary/layout.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import {
  P2M_SIZE_LIMIT,
  PAGE,
  VCPU_CONTEXT,
  VCPU_EXTENDED,
  XSAVE_HEAD,
  XSAVE_LIMIT,
  XSAVE_PREFIX,
} from "./layout.js";

/*
 * The tail of a PV stream has no lengths but that of its list of unmapped pfns and, for each vCPU, that of the XSAVE area: which
 * states its vCPUs have, and how long they are, is said by the extended info at the head. Where that is damaged it shows
 * in what fits: areas of one length for all vCPUs, and the end of the stream after the shared info.
 */

/** What the state of each vCPU of a PV guest is made of. */
export interface VcpuShape {
  /** Bytes of a guest's word. */
  readonly guestWidth: 4 | 8;
  /** Whether an extended context follows the context. */
  readonly extended: boolean;
  /** Bytes of the XSAVE area; undefined: there is none. */
  readonly xsaveSize: number | undefined;
}

/** The tail of a PV stream. */
export interface PvTail extends VcpuShape {
  /** pfns of the list of unmapped ones, and the offset of the first. */
  readonly unmapped: number;
  readonly unmappedAt: number;
  /** Offset after the shared info. */
  readonly end: number;
}

/** pfns that are looked at to see whether they are a list of unmapped ones. */
const SHOWN = 1024;
/** Unmapped pfns that prove a list by their order. */
const SURE = 4;
/** The smallest XSAVE area: that of the legacy state and its header. */
const LEAST_XSAVE = 576;

/** Bytes of a vCPU's state. */
export function vcpuSizeOf({ guestWidth, extended, xsaveSize }: VcpuShape): number {
  const xsave = xsaveSize === undefined ? 0 : XSAVE_PREFIX.size + xsaveSize;
  return VCPU_CONTEXT[guestWidth] + (extended ? VCPU_EXTENDED : 0) + xsave;
}

/**
 * The tail of a PV stream at an offset, whatever its vCPUs' states are made of; undefined: none fits.
 * @param online vCPUs that have a state
 * @param isFollowed whether a chunk begins at an offset, for a stream of checkpoints
 */
export async function findPvTail(
  input: ByteSource,
  at: number,
  ulongSize: 4 | 8,
  online: number,
  isFollowed: (offset: number) => Promise<boolean>,
): Promise<PvTail | undefined> {
  const head = new Uint8Array(4);
  if ((await readBefore(input, at, head)) < head.length) return undefined;
  const unmapped = viewOf(head).getUint32(0, true);
  const unmappedAt = at + head.length;
  const vcpus = unmappedAt + unmapped * ulongSize;
  const least = VCPU_CONTEXT[4] * online + PAGE;
  if (online < 1 || unmapped > P2M_SIZE_LIMIT || vcpus + least > input.size) return undefined;
  if (!(await isAscending(input, unmappedAt, Math.min(unmapped, SHOWN), ulongSize))) return undefined;
  const fits = async (shape: VcpuShape): Promise<PvTail | undefined> => {
    const end = vcpus + online * vcpuSizeOf(shape) + PAGE;
    // in the middle of a stream zeros would be a list, where any memory looks like what follows
    const isEnd = end === input.size || (unmapped >= SURE && end < input.size && (await isFollowed(end)));
    return isEnd ? { ...shape, unmapped, unmappedAt, end } : undefined;
  };
  const shapes = SHAPES.map((shape) => ({ ...shape, xsaveSize: undefined }));
  for (const shape of shapes) {
    const xsaveSize = await xsaveSizeOf(input, vcpus, shape, online);
    const found = xsaveSize === undefined ? undefined : await fits({ ...shape, xsaveSize });
    if (found !== undefined) return found;
  }
  for (const shape of shapes) {
    const found = await fits(shape);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The likelier ones first: every sender of Xen 4 writes the extended context. */
const SHAPES: readonly Omit<VcpuShape, "xsaveSize">[] = [
  { guestWidth: 8, extended: true },
  { guestWidth: 4, extended: true },
  { guestWidth: 8, extended: false },
  { guestWidth: 4, extended: false },
];

/** Whether pfns ascend, as senders list them. */
async function isAscending(input: ByteSource, at: number, count: number, ulongSize: 4 | 8): Promise<boolean> {
  const bytes = new Uint8Array(count * ulongSize);
  if ((await readBefore(input, at, bytes)) < bytes.length) return false;
  const view = viewOf(bytes);
  let last = -1;
  for (let i = 0; i < bytes.length; i += ulongSize) {
    const pfn = view.getUint32(i, true);
    const high = ulongSize === 8 ? view.getUint32(i + 4, true) : 0;
    if (pfn <= last || pfn >= P2M_SIZE_LIMIT || high !== 0) return false;
    last = pfn;
  }
  return true;
}

/** The length that the XSAVE areas of all vCPUs have if their states are of a shape; undefined: they have none. */
async function xsaveSizeOf(
  input: ByteSource,
  vcpus: number,
  shape: VcpuShape,
  online: number,
): Promise<number | undefined> {
  const before = vcpuSizeOf(shape);
  const prefix = new Uint8Array(XSAVE_PREFIX.size);
  const sizeAt = async (i: number, size: number): Promise<number | undefined> => {
    const at = vcpus + i * (before + prefix.length + size) + before;
    if ((await readBefore(input, at, prefix)) < prefix.length) return undefined;
    const view = viewOf(prefix);
    return view.getUint32(12, true) === 0 ? view.getUint32(8, true) : undefined;
  };
  const size = await sizeAt(0, 0);
  if (size === undefined || size < LEAST_XSAVE || size > XSAVE_LIMIT - XSAVE_HEAD) return undefined;
  for (let i = 1; i < online; i += 1) if ((await sizeAt(i, size)) !== size) return undefined;
  return size;
}
