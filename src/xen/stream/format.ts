import type { InputFormat } from "../../guest/input-format.js";
import { isLegacy } from "../legacy/detect.js";
import { startsXenStream } from "./read.js";
import { XL_MAGIC } from "../xl/layout.js";

const startsXl = (head: Uint8Array): boolean =>
  head.length >= XL_MAGIC.length && XL_MAGIC.every((byte, i) => head[i] === byte) && !isLegacy(head);

/** Xen migration streams of versions 2 and 3: xl save files, libxl and libxc streams. */
export const xenStream: InputFormat = {
  id: "xen-stream",
  title: "Xen migration stream",
  matches: (head) => startsXenStream(head) || startsXl(head),
  // loaded when asked for: starting up costs only what is used
  verify: async (input, report, options) =>
    (await import("./verify.js")).verifyXenStream(input, report, options),
  inspect: async (input, options) => {
    const [{ inspectXenStream }, { openStreamGuest }, { inspectSoftware }] = await Promise.all([
      import("./inspect.js"),
      import("./guest.js"),
      import("../../guest/kernel/software.js"),
    ]);
    return {
      ...(await inspectXenStream(input, options)),
      ...(await inspectSoftware(input, options, openStreamGuest)),
    };
  },
  openGuest: async (input, options) => (await import("./guest.js")).openStreamGuest(input, options),
};
