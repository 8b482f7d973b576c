export * from "./blob.js";
