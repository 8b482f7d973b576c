import { print, printError } from "../terminal.js";

/** Where a drop-in's messages go: its streams, or the system's log. */
export interface Log {
  info(message: string): void;
  error(message: string): void;
}

/** Messages on standard output (or, where that carries data, standard error) and standard error. */
export function streamLog(options: { readonly infoToStderr: boolean }): Log {
  return { info: options.infoToStderr ? printError : print, error: printError };
}

/** Messages in the system's log, by the `logger` program; on standard error where that is missing. */
export function systemLog(program: string): Log {
  // the drop-ins seldom log: without this every start would load it
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const log = (priority: string, message: string): void => {
    for (const line of message.split("\n")) {
      const done = spawnSync("logger", ["-t", program, "-p", `user.${priority}`, "--", line], {
        stdio: "ignore",
      });
      if (done.error !== undefined) printError(line);
    }
  };
  return { info: (message) => log("info", message), error: (message) => log("err", message) };
}
