/** What needs Node.js: files, pipes, outputs, running processes. */
export * from "./io/node/index.js";
export { inspectProcess, openProcess, type ProcessOptions } from "./open/node/process.js";
