import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { isAvml } from "./detect.js";

/** Physical memory as `avml --compress` takes it from a running Linux machine. Without compression it writes LiME. */
export const avml: InputFormat = {
  id: "avml",
  title: "compressed AVML memory dump",
  matches: isAvml,
  matchesDamaged: async (input) => (await import("./salvage.js")).isDamagedAvml(input),
  rules: async () => [{ title: "Compressed AVML dumps", rules: (await import("./rules.js")).AVML_RULES }],
  layouts: async () => [layoutSection("avml", await import("./layout.js"))],
  reader: {
    access: "random",
    verify: async (input, diagnostics) => (await import("./verify.js")).verifyDump(input, diagnostics),
    inspect: async (input, options) => (await import("./inspect.js")).inspectDump(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openDump(input, options),
  },
};
