#!/usr/bin/env node
import { describeError, FormatError, GuestscopeError } from "guestscope";
import { FLEET_VERSION } from "../version.js";
import { type Command, createParser, EXIT } from "./command.js";
import { print, printError } from "./terminal.js";

/** Commands are loaded when called. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  submit: async () => (await import("./submit.js")).command,
  work: async () => (await import("./work.js")).command,
  status: async () => (await import("./status.js")).command,
  report: async () => (await import("./report.js")).command,
};

async function main([name, ...rest]: readonly string[]): Promise<number> {
  if (name === "--version") {
    print(`guestscope-fleet ${FLEET_VERSION}`);
    return EXIT.good;
  }
  const load = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load !== undefined) {
    const command = await load();
    return command.run(createParser(command, FLEET_VERSION).parse_args(rest));
  }
  const asked = name === "--help" || name === "-h" || name === "help";
  if (!asked && name !== undefined) printError(`guestscope-fleet: no command '${name}'`);
  const write = asked ? print : printError;
  write(
    "usage: guestscope-fleet COMMAND [OPTION...]\n\nChecks, extracts and converts many saved guests, on one machine or many.\n",
  );
  for (const loadCommand of Object.values(COMMANDS)) {
    const command = await loadCommand();
    write(`  ${command.name.padEnd(8)}${command.summary}`);
  }
  write("\n'guestscope-fleet COMMAND --help' says more, with examples.");
  return asked ? EXIT.good : EXIT.failure;
}

/** The reader of our output went away (`| head`): stop quietly. */
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? EXIT.good);
  });
}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof GuestscopeError) {
    printError(`guestscope-fleet: ${describeError(error)}`);
    return error instanceof FormatError ? EXIT.badInput : EXIT.failure;
  }
  printError(
    `guestscope-fleet: internal error, please report it\n${(error as Error).stack ?? String(error)}`,
  );
  return EXIT.failure;
});
