import { rules } from "../findings/rule.js";

/** What can be wrong with an input before any format has a say. */
export const OPEN_RULES = rules({
  empty: {
    code: "open/empty",
    severity: "error",
    spec: "any input",
    explanation: "The input has no bytes. A save that failed at once leaves such a file.",
  },
  compressed: {
    code: "open/compressed",
    severity: "error",
    spec: "any input",
    explanation:
      "The input is compressed as a whole. Unpack it on the way: 'zstd -dc FILE | guestscope verify -'.",
  },
  damagedHead: {
    code: "open/damaged-head",
    severity: "error",
    spec: "any input",
    explanation:
      "The first bytes, by which a format is known, are damaged, but what follows them is of the format that the message names. What is left can be read as partial: what the head said is taken from the rest, as far as that proves it.",
  },
  unknown: {
    code: "open/unknown",
    severity: "error",
    spec: "any input",
    explanation: "The first bytes are of no format known here; the message says what they look like.",
  },
});
