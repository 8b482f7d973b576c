export * from "./codec.js";
export * from "./compressions.js";
export * from "./streams.js";
