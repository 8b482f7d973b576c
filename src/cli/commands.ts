import type { Command } from "./command.js";
import { LISTED } from "./command-list.js";

/** Every command. They are loaded when called: starting up costs only what is used. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  ...LISTED,
  completion: async () => (await import("./completion.js")).command,
};
