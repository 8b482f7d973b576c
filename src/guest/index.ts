export * from "./code.js";
export * from "./image.js";
export * from "./input-format.js";
export * from "./linux.js";
export * from "./memory.js";
export * from "./page-map.js";
export * from "./paging.js";
export * from "./vcpu.js";
