import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { isXenCore } from "./detect.js";

/** Memory of a Xen guest as `xl dump-core` writes it. */
export const xenCore: InputFormat = {
  id: "xen-core",
  title: "Xen core (xl dump-core)",
  matches: isXenCore,
  matchesDamaged: async (input) => (await import("./rescue.js")).isDamagedXenCore(input),
  rules: async () => [{ title: "Xen cores", rules: (await import("./rules.js")).XEN_CORE_RULES }],
  layouts: async () => {
    const [core, context] = await Promise.all([import("./layout.js"), import("../../guest/pv-context.js")]);
    return [layoutSection("xen-core", core), layoutSection("pv-context", context)];
  },
  reader: {
    access: "random",
    verify: async (input, diagnostics) => (await import("./verify.js")).verifyXenCore(input, diagnostics),
    inspect: async (input, options) => (await import("./inspect.js")).inspectXenCore(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openXenCoreGuest(input, options),
  },
};
