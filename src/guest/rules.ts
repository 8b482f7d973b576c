import { rules } from "../findings/rule.js";

/** What can be wrong with guest memory, whatever format it comes from. */
export const GUEST_RULES = rules({
  frameRange: {
    code: "guest/frame-range",
    severity: "error",
    spec: "guest memory",
    explanation: "A guest frame number must be below 2^40. The input names a page no machine has.",
  },
  tooScattered: {
    code: "guest/too-scattered",
    severity: "error",
    spec: "guest memory",
    explanation:
      "The pages are scattered over more of the address space than any real machine has: the frame numbers are damaged.",
  },
  tooManyReasons: {
    code: "guest/too-many-reasons",
    severity: "error",
    spec: "guest memory",
    explanation: "The input gives more reasons for absent memory than can be kept apart.",
  },
  noDecoder: {
    code: "guest/no-decoder",
    severity: "error",
    spec: "guest memory",
    explanation: "The input holds encoded pages, and nothing here decodes them.",
  },
  sourceShrank: {
    code: "guest/source-shrank",
    severity: "error",
    spec: "guest memory",
    explanation: "The input must stay as it was when it was opened: it now ends before memory that it held.",
  },
  incompleteRead: {
    code: "vmcore/incomplete-read",
    severity: "error",
    spec: "guest memory",
    explanation:
      "Memory that the input says it holds must be readable. A file that changes meanwhile, or a running guest, can cause this.",
  },
});
