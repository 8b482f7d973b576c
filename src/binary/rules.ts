import { rules } from "../findings/rule.js";

/** What can be wrong with any field. */
export const BINARY_RULES = rules({
  overflow: {
    code: "binary/overflow",
    severity: "error",
    spec: "any structure",
    explanation:
      "An address, offset or length must be below 2^53: no machine and no file reaches that. The field is damaged.",
  },
});
