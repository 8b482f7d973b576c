import { viewOf } from "../../binary/layout.js";
import { AVML_MAGIC } from "./layout.js";

/** Whether an input begins like a compressed AVML dump. */
export function isAvml(head: Uint8Array): boolean {
  return head.length >= 8 && viewOf(head).getUint32(0, true) === AVML_MAGIC;
}
