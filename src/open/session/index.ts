/** The protocol behind a viewer: whoever holds a saved guest answers it, a worker of the browser or a server. */
export * from "./cached-source.js";
export * from "./fact.js";
export * from "./input.js";
export * from "./linux-protocol.js";
export * from "./problem.js";
export * from "./protocol.js";
export * from "./range-source.js";
export * from "./serve.js";
export * from "./session.js";
export * from "./wire.js";
