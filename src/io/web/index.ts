export * from "./blob.js";
export * from "./http.js";
