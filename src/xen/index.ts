/** Xen: migration streams of versions 2 and 3 in every layer, the legacy format and its conversion, envelopes. */
export { libvirtLibxlSave, xapiSave } from "./envelopes/format.js";
export type * from "./legacy/chunks.js";
export type { ConversionReport } from "./legacy/conversion-report.js";
export { type ConvertOptions, convertLegacy } from "./legacy/convert.js";
export { type LegacyState, type ReadLegacyOptions, readLegacy } from "./legacy/final-state.js";
export { xenLegacy } from "./legacy/format.js";
export { inspectLegacy, type LegacyDetails, type LegacyInspection, verifyLegacy } from "./legacy/inspect.js";
export { LegacyReader, type LegacyReaderOptions } from "./legacy/read.js";
export { PageEntries } from "./libxc/pages.js";
export { placeOf, RecordBody, type RecordLayer, type StreamRecord } from "./record.js";
export { xenStream } from "./stream/format.js";
export { inspectXenStream, type XenStreamDetails, type XenStreamInspection } from "./stream/inspect.js";
export type {
  DomainHeaderItem,
  ImageHeaderItem,
  Layer,
  LibxlHeaderItem,
  StreamItem,
  TrailingItem,
  XlHeaderItem,
} from "./stream/items.js";
export { recordName, XenStream, type XenStreamOptions } from "./stream/read.js";
export { type VerifyStreamOptions, verifyXenStream } from "./stream/verify.js";
