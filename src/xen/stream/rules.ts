import { rules } from "../../findings/rule.js";

/** What can be wrong with a Xen migration stream as a whole. */
export const STREAM_RULES = rules({
  magic: {
    code: "xen/stream/magic",
    severity: "error",
    spec: "Xen migration streams: layers",
    explanation:
      "A stream starts with an xl header, with 'LibxlFmt' or with eight bytes 0xff; this input, read as the layer that was asked for, doesn't.",
  },
  truncated: {
    code: "xen/stream/truncated",
    severity: "error",
    spec: "Xen migration streams: records",
    explanation:
      "The input ends inside a structure that it announced, or before the END record. The save was interrupted, the disk was full or the copy is incomplete; the guest can't be restored from it.",
  },
  framingLost: {
    code: "xen/stream/framing-lost",
    severity: "error",
    spec: "Xen migration streams: records",
    explanation:
      "Two consecutive records have types that don't exist: a length before them is wrong, and what is here are not records. Verification stops.",
  },
  wireHandshake: {
    code: "xen/stream/wire-handshake",
    severity: "note",
    spec: "xl migrate: handshake",
    explanation:
      "The text with which xl hands over the domain follows the stream: it was captured from a live migration.",
  },
  trailing: {
    code: "xen/stream/trailing",
    severity: "warning",
    spec: "Xen migration streams: END",
    explanation:
      "Trailing data after the END record. Readers ignore them; they may be left from an older, longer file, or two files were joined.",
  },
});
