export * from "./detect.js";
export * from "./formats.js";
export * from "./open.js";
export * from "./layouts.js";
export * from "./rules.js";
