import { viewOf } from "../../binary/layout.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_MAGIC, xlHeader } from "./layout.js";

/** Whether the bytes at the start of an input are the magic of an xl save file. */
export function isXlSave(head: Uint8Array): boolean {
  return head.length >= XL_MAGIC.length && XL_MAGIC.every((byte, i) => head[i] === byte);
}

/** Whether a whole xl header at the start of an input says that a legacy stream follows, not a libxl stream. */
export function announcesLegacy(head: Uint8Array): boolean {
  if (!isXlSave(head) || head.length < xlHeader.size) return false;
  const view = viewOf(head);
  const little = view.getUint32(xlHeader.offsetOf("byteorder"), true) === XL_BYTE_ORDER;
  const flags = view.getUint32(xlHeader.offsetOf("mandatoryFlags"), little);
  return (flags & XL_FLAGS.streamV2) === 0;
}
