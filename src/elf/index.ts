export * from "./core.js";
export * from "./core-notes.js";
export * from "./file.js";
export * from "./layout.js";
export * from "./notes.js";
export * from "./process-memory.js";
export type { SegmentTable } from "./segments.js";
export { type ElfSymbol, SymbolTable } from "./symbols.js";
export * from "./debug-file.js";
