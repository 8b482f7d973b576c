export * from "./image.js";
export * from "./input-format.js";
export * from "./memory.js";
export * from "./vcpu.js";
