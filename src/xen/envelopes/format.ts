import type { InputFormat } from "../../guest/input-format.js";
import { isLibvirtLibxl, isXapi } from "./detect.js";

/** What is declared of both envelopes; the stream inside has a format of its own. */
const DECLARED: Pick<InputFormat, "rules" | "layouts"> = {
  rules: async () => [
    { title: "Envelopes of Xen streams", rules: (await import("./rules.js")).ENVELOPE_RULES },
  ],
  layouts: async () => {
    const [{ layoutSection }, envelopes] = await Promise.all([
      import("../../binary/layout.js"),
      import("./layout.js"),
    ]);
    return [layoutSection("xen-envelopes", envelopes)];
  },
};

/** Images that XAPI (XenServer, XCP-ng) suspends domains into. */
export const xapiSave: InputFormat = {
  id: "xen-xapi",
  title: "XAPI suspend image (Xen)",
  matches: isXapi,
  ...DECLARED,
  reader: {
    access: "sequential",
    verify: async (input, diagnostics, options) => (await load()).xapi.verify(input, diagnostics, options),
    inspect: async (input, options) => (await load()).xapi.inspect(input, options),
    openGuest: async (input, options) => (await load()).xapi.openGuest(input, options),
  },
};

/** Files that libvirt's libxl driver saves domains into. */
export const libvirtLibxlSave: InputFormat = {
  id: "xen-libvirt",
  title: "libvirt save file of a Xen domain",
  matches: isLibvirtLibxl,
  ...DECLARED,
  reader: {
    access: "sequential",
    verify: async (input, diagnostics, options) =>
      (await load()).libvirtLibxl.verify(input, diagnostics, options),
    inspect: async (input, options) => (await load()).libvirtLibxl.inspect(input, options),
    openGuest: async (input, options) => (await load()).libvirtLibxl.openGuest(input, options),
  },
};

const load = (): Promise<typeof import("./envelope.js")> => import("./envelope.js");
