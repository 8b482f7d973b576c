export * from "./image.js";
export * from "./input-format.js";
export * from "./memory.js";
export * from "./page-map.js";
export * from "./vcpu.js";
