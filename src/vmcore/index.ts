/** vmcores: writers of every form, and readers of the same. */
export * from "./elf/read.js";
export * from "./elf/write.js";
export * from "./kdump/format.js";
export * from "./kdump/write.js";
export * from "./lime/read.js";
export * from "./lime/write.js";
export * from "./notes.js";
export * from "./prstatus.js";
export * from "./raw/write.js";
export * from "../guest/selection.js";
export * from "./xen-core/read.js";
export * from "./xen-core/write.js";
