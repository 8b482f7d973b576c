import { rules } from "../../findings/rule.js";
import { AVML_SPEC } from "./layout.js";

const FRAMES = "Snappy framing format";

/** What can be wrong with a compressed AVML dump. */
export const AVML_RULES = rules({
  header: {
    code: "vmcore/avml/header",
    severity: "error",
    spec: AVML_SPEC,
    explanation:
      "A block's header is none: its magic number, version or addresses are wrong. Where the next block begins isn't said: what is left is read on at the next one that is proven.",
  },
  chunk: {
    code: "vmcore/avml/chunk",
    severity: "error",
    spec: FRAMES,
    explanation:
      "A chunk of Snappy data has an unknown kind or an impossible size. What is left is read on at the next chunk or block that is proven.",
  },
  truncated: {
    code: "vmcore/avml/truncated",
    severity: "error",
    spec: AVML_SPEC,
    explanation: "The file ends before the contents that a block announces: that memory is absent.",
  },
  checksum: {
    code: "vmcore/avml/checksum",
    severity: "error",
    spec: FRAMES,
    explanation:
      "A chunk doesn't unpack, or not to what its checksum says. The memory that it holds is lost.",
  },
  trailer: {
    code: "vmcore/avml/trailer",
    severity: "warning",
    spec: AVML_SPEC,
    explanation: "The number after a block is neither the block's size nor that of its compressed data.",
  },
  overlap: {
    code: "vmcore/avml/overlap",
    severity: "warning",
    spec: AVML_SPEC,
    explanation: "Two blocks have addresses in common: the contents of the later one count.",
  },
});
