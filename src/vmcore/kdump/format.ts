import { latin1, layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { DISKDUMP_SIGNATURE, FLATTENED_SIGNATURE, KDUMP_SIGNATURE } from "./layout.js";

/** kdump-compressed dumps of makedumpfile and QEMU: plain, flattened, split. */
export const kdump: InputFormat = {
  id: "kdump",
  title: "kdump-compressed dump",
  matches(head) {
    const start = latin1(head.subarray(0, 16));
    return [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE, `${FLATTENED_SIGNATURE}\0`].some((signature) =>
      start.startsWith(signature),
    );
  },
  rules: async () => [{ title: "kdump", rules: (await import("./rules.js")).KDUMP_RULES }],
  layouts: async () => [layoutSection("kdump", await import("./layout.js"))],
  reader: {
    access: "random",
    verify: async (input, diagnostics, options) =>
      (await import("./verify.js")).verifyKdump(input, diagnostics, options),
    inspect: async (input, options) => (await import("./inspect.js")).inspectKdump(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openKdumpGuest(input, options),
  },
};
