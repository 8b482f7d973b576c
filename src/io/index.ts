export * from "./byte-reader.js";
export * from "./byte-sink.js";
export * from "./byte-source.js";
export * from "../findings/errors.js";
export * from "./byte-search.js";
export * from "./peek-head.js";
export * from "./spool.js";
