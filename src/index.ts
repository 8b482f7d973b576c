/**
 * guestscope: reads, verifies, converts and opens the saved state of virtual machines. This entry runs in browsers as
 * well as in Node; files and descriptors come from `guestscope/node`.
 * @packageDocumentation
 */
export * from "./binary/index.js";
export * from "./findings/index.js";
export * from "./guest/index.js";
export * from "./io/index.js";
export * from "./io/web/index.js";
export * from "./open/index.js";
export { VERSION } from "./version.js";
