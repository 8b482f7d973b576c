import { layoutSection, viewOf } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { LIME_MAGIC } from "./layout.js";

/** Physical memory as the LiME kernel module and AVML take it from a running Linux machine, and as `limeWriter` writes it. */
export const lime: InputFormat = {
  id: "lime",
  title: "LiME memory dump",
  matches: (head) => head.length >= 8 && viewOf(head).getUint32(0, true) === LIME_MAGIC,
  matchesDamaged: async (input) => (await import("./salvage.js")).isDamagedLime(input),
  matchesFar: async (input) => (await import("./salvage.js")).isFarLime(input),
  rules: async () => [{ title: "LiME dumps", rules: (await import("./rules.js")).LIME_RULES }],
  layouts: async () => [layoutSection("lime", await import("./layout.js"))],
  reader: {
    access: "random",
    verify: async (input, diagnostics) => (await import("./verify.js")).verifyLime(input, diagnostics),
    inspect: async (input, options) => (await import("./inspect.js")).inspectLime(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openLimeGuest(input, options),
  },
};
