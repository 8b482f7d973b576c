import type { XenFormat } from "../format.js";
import { isXenStream } from "./detect.js";

/** Xen migration streams of versions 2 and 3: xl save files, libxl and libxc streams. */
export const xenStream: XenFormat = {
  id: "xen-stream",
  title: "Xen migration stream",
  matches: isXenStream,
  matchesDamaged: async (input) => (await (await import("./head.js")).findRecords(input)) !== undefined,
  rules: async () => {
    const [stream, xl, libxl, libxc, hvmContext] = await Promise.all([
      import("./rules.js"),
      import("../xl/rules.js"),
      import("../libxl/rules.js"),
      import("../libxc/rules.js"),
      import("../hvm-context/rules.js"),
    ]);
    return [
      { title: "Xen migration streams", rules: stream.STREAM_RULES },
      { title: "xl save files", rules: xl.XL_RULES },
      { title: "libxl layer", rules: libxl.LIBXL_RULES },
      { title: "libxc layer", rules: libxc.LIBXC_RULES },
      { title: "HVM context", rules: hvmContext.HVM_RULES },
    ];
  },
  layouts: async () => {
    const [{ layoutSection }, xl, libxl, libxc, hvmContext, pvContext] = await Promise.all([
      import("../../binary/layout.js"),
      import("../xl/layout.js"),
      import("../libxl/layout.js"),
      import("../libxc/layout.js"),
      import("../hvm-context/layout.js"),
      import("../../guest/pv-context.js"),
    ]);
    return [
      layoutSection("xl", xl),
      layoutSection("libxl", libxl),
      layoutSection("libxc", libxc),
      layoutSection("hvm-context", hvmContext),
      layoutSection("pv-context", pvContext),
    ];
  },
  reader: {
    access: "sequential",
    verify: async (input, diagnostics, options) =>
      (await import("./verify.js")).verifyXenStream(input, diagnostics, options),
    inspect: async (input, options) => (await import("./inspect.js")).inspectXenStream(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openStreamGuest(input, options),
  },
};
