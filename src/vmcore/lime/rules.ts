import { rules } from "../../findings/rule.js";

const SPEC = "LiME memory dump format, version 1";

/** What can be wrong with a LiME dump. */
export const LIME_RULES = rules({
  header: {
    code: "vmcore/lime/header",
    severity: "error",
    spec: SPEC,
    explanation:
      "A range's header must have the magic number, version 1 and an ascending range of addresses. Where the next range begins can't be known, so all that follows is lost.",
  },
  truncated: {
    code: "vmcore/lime/truncated",
    severity: "error",
    spec: SPEC,
    explanation: "The file ends before the contents that a range announces: that memory is absent.",
  },
  overlap: {
    code: "vmcore/lime/overlap",
    severity: "warning",
    spec: SPEC,
    explanation: "Two ranges have addresses in common: the contents of the later one count.",
  },
});
