export * from "./files.js";
export * from "./output.js";
