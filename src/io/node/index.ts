export * from "./files.js";
export * from "./output.js";
export * from "./debug-files.js";
export * from "./decompress.js";
export * from "./process-memory.js";
export { installNodeCodecs } from "./codecs.js";
