import { latin1 } from "../../binary/layout.js";

/** Whether bytes begin as a QEVM stream does. */
export function isQevm(head: Uint8Array): boolean {
  return latin1(head.subarray(0, 4)) === "QEVM";
}
