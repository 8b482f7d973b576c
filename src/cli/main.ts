#!/usr/bin/env node
import { VERSION } from "../version.js";
import { createParser, EXIT, runProgram } from "./command.js";
import { COMMANDS } from "./commands.js";
import { print, printError } from "./terminal.js";

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
