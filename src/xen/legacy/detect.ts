import { viewOf } from "../../binary/layout.js";
import {
  type GuestKind,
  hasData,
  P2M_SIZE_LIMIT,
  PARAMETER_CHUNKS,
  chunkName,
  TSC_MODE_LIMIT,
  TYPE,
  type ToolstackWidth,
} from "./layout.js";
import { announcesLegacy, isXlSave } from "../xl/detect.js";

/** What the first bytes of a legacy stream show. */
export interface Detected {
  readonly width: ToolstackWidth;
  readonly guest: GuestKind;
}

/** Bytes of a stream that `detectWidthAndGuest` looks at: p2m_size and what follows it. */
export const DETECTION_SIZE = 16;

/**
 * Width and guest of the libxc stream that starts at `at`: a 64-bit toolstack's p2m_size has zeros in its upper
 * half; a PV stream has a `ulong` of all ones after it, an HVM stream the id of its first chunk.
 */
export function detectWidthAndGuest(view: DataView, at: number): Detected {
  const width = view.getUint32(at + 4, true) === 0 ? 64 : 32;
  const second = view.getUint32(at + (width === 64 ? 8 : 4), true);
  const ones = second === 0xffffffff && (width === 32 || view.getUint32(at + 12, true) === 0xffffffff);
  return { width, guest: ones ? "pv" : "hvm" };
}

/** Whether the bytes at the start of an input (as many as there are, up to 4096) are those of a legacy stream. */
export function isLegacy(head: Uint8Array): boolean {
  return isXlSave(head) ? announcesLegacy(head) : isLegacyLibxc(viewOf(head), 0);
}

/** Without a magic number: a plausible size and a plausible first structure after it. */
function isLegacyLibxc(view: DataView, at: number): boolean {
  if (view.byteLength < at + DETECTION_SIZE + 4) return false;
  const p2mSize = view.getUint32(at, true);
  if (p2mSize === 0 || p2mSize > P2M_SIZE_LIMIT) return false;
  const { width, guest } = detectWidthAndGuest(view, at);
  const ulong = width / 8;
  if (guest === "pv") {
    const total = view.getUint32(at + 2 * ulong, true);
    return total >= 2808 && total < 1 << 20;
  }
  const first = at + ulong;
  const id = view.getInt32(first, true);
  if (id <= 0) return id !== 0 && chunkName(id) !== undefined && isPlausibleChunk(view, first, id);
  if (id > 1024) return false;
  const shown = Math.min(id, Math.floor((view.byteLength - first - 4) / ulong));
  for (let i = 0; i < shown; i += 1) {
    const entry = view.getUint32(first + 4 + i * ulong, true);
    const type = entry >>> 28;
    if (!hasData(type) && type < TYPE.broken) return false;
    if (type !== TYPE.invalid && (entry & 0x0fffffff) >= p2mSize) return false;
    if (width === 64 && view.getUint32(first + 8 + i * ulong, true) !== 0) return false;
  }
  return shown > 0;
}

function isPlausibleChunk(view: DataView, at: number, id: number): boolean {
  if (view.byteLength < at + 24) return false;
  if (id === -7) return view.getUint32(at + 4, true) < TSC_MODE_LIMIT;
  if (id === -5) return view.getUint32(at + 12, true) === 0xffffffff;
  if (PARAMETER_CHUNKS.has(id)) return view.getUint32(at + 4, true) === 0;
  return true;
}
