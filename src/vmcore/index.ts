/** vmcores: writers of every form, and readers of the same. */
export * from "./elf-reader.js";
export * from "./elf-writer.js";
export * from "./kdump-format.js";
export * from "./kdump-writer.js";
export * from "./lime-reader.js";
export * from "./lime-writer.js";
export * from "./notes.js";
export * from "./prstatus.js";
export * from "./raw-writer.js";
export * from "./writer.js";
export * from "./xen-core-reader.js";
export * from "./xen-core-writer.js";
