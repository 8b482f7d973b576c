import { latin1, viewOf } from "../../binary/layout.js";
import { IMAGE_ID } from "../libxc/layout.js";
import { LIBXL_MAGIC } from "../libxl/layout.js";
import { announcesLegacy, isXlSave } from "../xl/detect.js";

/** Whether the bytes at the start of an input are those of a version 2 or 3 stream, in whichever layer it begins. */
export function isXenStream(head: Uint8Array): boolean {
  if (isXlSave(head)) return !announcesLegacy(head);
  if (head.length < 8) return false;
  if (head.subarray(0, 8).every((byte) => byte === 0xff)) {
    // other formats may start with eight 0xff bytes too: 'XENF' must follow, if anything does
    return head.length < 12 || viewOf(head).getUint32(8) === IMAGE_ID;
  }
  return latin1(head.subarray(0, 8)) === LIBXL_MAGIC;
}
