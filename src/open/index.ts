export * from "./detect.js";
export * from "./formats.js";
export * from "./open.js";
