import { rules } from "../../findings/rule.js";

const XAPI = "XAPI suspend image, version 2";
const LIBVIRT = "libvirt's libxl driver: save file";

/** What can be wrong with the envelopes around Xen streams. */
export const ENVELOPE_RULES = rules({
  truncated: {
    code: "envelope/truncated",
    severity: "error",
    spec: "envelopes of Xen streams",
    explanation: "The input ends before the envelope's header or records do, or before the stream in it.",
  },
  noStream: {
    code: "envelope/no-stream",
    severity: "error",
    spec: "envelopes of Xen streams",
    explanation: "Where the envelope says that a Xen stream starts, one of a known version must start.",
  },
  xapiType: {
    code: "xapi/record/type",
    severity: "error",
    spec: XAPI,
    explanation: "A record of unknown type: its length can't be trusted, and what follows can't be found.",
  },
  xapiOrder: {
    code: "xapi/record/no-image",
    severity: "error",
    spec: XAPI,
    explanation: "The image ends without a memory image (libxc, libxl or libxc legacy).",
  },
  xapiEnd: {
    code: "xapi/end",
    severity: "warning",
    spec: XAPI,
    explanation: "The last record of an image is its end mark; without it the suspend was interrupted.",
  },
  libvirtVersion: {
    code: "libvirt-libxl/version",
    severity: "error",
    spec: LIBVIRT,
    explanation: "Versions 1 and 2 of this file are known.",
  },
  libvirtXml: {
    code: "libvirt-libxl/xml-length",
    severity: "error",
    spec: LIBVIRT,
    explanation: "The domain's XML is missing or longer than any description of a domain.",
  },
});
