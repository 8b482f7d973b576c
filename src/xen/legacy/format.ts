import { Report } from "../../findings/report.js";
import type { InputFormat } from "../../guest/input-format.js";
import { inspectSoftware } from "../../guest/kernel/software.js";
import { openLegacyGuest } from "./guest.js";
import { isLegacy } from "./detect.js";
import { inspectLegacy, verifyLegacy } from "./inspect.js";

/** Streams of Xen 3.x to 4.5, bare, as libxl wrote them, or as xl save files. */
export const xenLegacy = {
  id: "xen-legacy",
  title: "legacy Xen migration stream",
  matches: isLegacy,
  verify: (input, report, options) => verifyLegacy(input, report, options.progress),
  inspect: async (input, options) => ({
    ...(await inspectLegacy(input, new Report(input.name), (done, total) =>
      options.progress?.(done, total, "reading"),
    )),
    ...(await inspectSoftware(input, options, openLegacyGuest)),
  }),
  openGuest: openLegacyGuest,
} satisfies InputFormat;
