/** Xen: migration streams of versions 2 and 3 in every layer, the legacy format and its conversion, envelopes. */
export * from "./envelopes/format.js";
export { type ConversionReport, type ConvertOptions, convertLegacy } from "./legacy/convert.js";
export type * from "./legacy/chunks.js";
export { type LegacyState, type ReadLegacyOptions, readLegacy } from "./legacy/final-state.js";
export { xenLegacy } from "./legacy/format.js";
export { LegacyReader, type LegacyReaderOptions } from "./legacy/read.js";
export * from "./stream/read.js";
export { xenStream } from "./stream/format.js";
export * from "./stream/inspect.js";
export * from "./stream/verify.js";
export { PageEntries } from "./libxc/pages.js";
