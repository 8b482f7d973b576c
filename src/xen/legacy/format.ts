import type { XenFormat } from "../format.js";
import { isLegacy } from "./detect.js";

/** Streams of Xen 3.x to 4.5, bare, as libxl wrote them, or as xl save files. */
export const xenLegacy: XenFormat = {
  id: "xen-legacy",
  title: "legacy Xen migration stream",
  matches: isLegacy,
  matchesDamaged: async (input) =>
    (await (await import("./head-census.js")).findFirstChunk(input)) !== undefined,
  rules: async () => [{ title: "Legacy Xen streams", rules: (await import("./rules.js")).LEGACY_RULES }],
  layouts: async () => {
    const [{ layoutSection }, legacy] = await Promise.all([
      import("../../binary/layout.js"),
      import("./layout.js"),
    ]);
    return [layoutSection("xen-legacy", legacy)];
  },
  reader: {
    access: "sequential",
    verify: async (input, diagnostics, options) =>
      (await import("./inspect.js")).verifyLegacy(input, diagnostics, options),
    inspect: async (input, options) => (await import("./inspect.js")).inspectLegacy(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openLegacyGuest(input, options),
  },
};
