import type { InputFormat, InputReader } from "../guest/input-format.js";

/** A format of Xen streams: each may come from a pipe, and may be inside an envelope. */
export interface XenFormat extends InputFormat {
  readonly reader: Extract<InputReader, { readonly access: "sequential" }>;
}
