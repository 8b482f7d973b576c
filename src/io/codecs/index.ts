export * from "./codec.js";
export * from "./streams.js";
