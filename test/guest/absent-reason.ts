import type { AbsentReason } from "../../src/guest/absent.js";

/** A reason for absent memory in tests, which tell reasons apart by their text. */
export const because = (text: string): AbsentReason => ({ kind: "not-saved", text });
