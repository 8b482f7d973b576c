import { viewOf } from "../../binary/layout.js";
import { XL_BYTE_ORDER, XL_FLAGS, XL_MAGIC, xlHeader } from "./layout.js";

/** A legacy header made over for a libxl stream: all bytes as they were but the flag that says so. */
export function upgradedXlHeader(legacy: Uint8Array): Uint8Array {
  const header = legacy.slice();
  const view = viewOf(header);
  const at = xlHeader.offsetOf("mandatoryFlags");
  view.setUint32(at, view.getUint32(at, true) | XL_FLAGS.streamV2, true);
  return header;
}

/** A header without a configuration: `xl restore` is given one beside the file. */
export function emptyXlHeader(): Uint8Array {
  return xlHeader.encode(
    {
      magic: XL_MAGIC,
      byteorder: XL_BYTE_ORDER,
      mandatoryFlags: XL_FLAGS.streamV2,
      optionalFlags: 0,
      optionalDataLength: 0,
    },
    "little",
  );
}
