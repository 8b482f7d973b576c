import type { InputFormat } from "../guest/input-format.js";
import { inspectSoftware } from "../guest/software.js";
import { isLegacy } from "./legacy/detect.js";
import { openStreamGuest } from "./stream-guest.js";
import { startsXenStream } from "./stream.js";
import { inspectXenStream } from "./stream-inspect.js";
import { verifyXenStream } from "./stream-verify.js";
import { XL_MAGIC } from "./xl/layout.js";

const startsXl = (head: Uint8Array): boolean =>
  head.length >= XL_MAGIC.length && XL_MAGIC.every((octet, i) => head[i] === octet) && !isLegacy(head);

/** Xen migration streams of versions 2 and 3: xl save files, libxl and libxc streams. */
export const xenStream: InputFormat = {
  id: "xen-stream",
  title: "Xen migration stream",
  matches: (head) => startsXenStream(head) || startsXl(head),
  verify: verifyXenStream,
  inspect: async (input, options) => ({
    ...(await inspectXenStream(input, options)),
    ...(await inspectSoftware(input, options, openStreamGuest)),
  }),
  openGuest: openStreamGuest,
};
