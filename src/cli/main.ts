#!/usr/bin/env node
import { VERSION } from "../version.js";
import { type Command, createParser, EXIT, runProgram } from "./command.js";
import { print, printError } from "./terminal.js";

/** Commands are loaded when called: starting up costs only what is used. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  inspect: async () => (await import("./inspect.js")).command,
  verify: async () => (await import("./verify.js")).command,
  extract: async () => (await import("./extract.js")).extract,
  convert: async () => (await import("./convert.js")).convert,
  explain: async () => (await import("./explain.js")).command,
  formats: async () => (await import("./formats.js")).command,
};

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === "--version") {
    print(`guestscope ${VERSION}`);
    return EXIT.good;
  }
  const load = name === undefined ? undefined : COMMANDS[name];
  if (load === undefined) {
    const asked = name === undefined || name === "--help" || name === "-h" || name === "help";
    if (!asked) printError(`guestscope: no command '${name}'`);
    await printUsage(asked && name !== undefined);
    return asked && name !== undefined ? EXIT.good : EXIT.failure;
  }
  const command = await load();
  const args = createParser(command, VERSION).parse_args(rest);
  return command.run(args);
}

async function printUsage(toStdout: boolean): Promise<void> {
  const write = toStdout ? print : printError;
  write(
    "usage: guestscope COMMAND [OPTION...] INPUT...\n\nReads, verifies, converts and opens the saved state of virtual machines.\n",
  );
  for (const load of Object.values(COMMANDS)) {
    const command = await load();
    write(`  ${command.name.padEnd(9)}${command.summary}`);
  }
  write("\n'guestscope COMMAND --help' tells more, with examples.");
}

await runProgram(() => main(process.argv.slice(2)));
