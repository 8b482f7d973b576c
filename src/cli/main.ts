#!/usr/bin/env node
import { UsageError } from "../findings/errors.js";
import { VERSION } from "../version.js";
import { type CommonArguments, createParser, EXIT, runProgram } from "./command.js";
import { COMMANDS } from "./commands.js";
import { didYouMean } from "./suggest.js";
import { configureOutput, print, printError, startPaging } from "./terminal.js";

/** Words of a command line that are options: those before `--`. */
function optionWords(words: readonly string[]): readonly string[] {
  const end = words.indexOf("--");
  return end === -1 ? words : words.slice(0, end);
}

async function main(argv: readonly string[]): Promise<number> {
  const options = new Set(optionWords(argv));
  configureOutput({ json: options.has("--json") });
  if (options.has("--version")) {
    const { versionLines } = await import("./version-lines.js");
    for (const line of versionLines(options.has("--verbose") || options.has("-v"))) print(line);
    return EXIT.good;
  }
  const [first, ...others] = argv;
  const asksHelp = options.has("--help") || options.has("-h") || first === "help";
  const [name, ...rest] = first === "help" || first === "--help" || first === "-h" ? others : argv;
  if (name === undefined || name.startsWith("-")) {
    if (options.has("--json") && !asksHelp) throw new UsageError("a command is missing");
    await printUsage(asksHelp);
    return asksHelp ? EXIT.good : EXIT.failure;
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    const hint = didYouMean(name, Object.keys(COMMANDS));
    throw new UsageError(`no command '${name}'${hint} ('guestscope help' lists them)`);
  }
  const command = await load();
  const parser = createParser(command, VERSION);
  if (asksHelp) {
    if (!options.has("--no-pager")) startPaging();
    print(parser.format_help().trimEnd());
    return EXIT.good;
  }
  const args = parser.parse_args<CommonArguments>(rest);
  if (args.quiet && args.verbose) throw new UsageError("--quiet and --verbose contradict each other");
  configureOutput({ quiet: args.quiet, json: args.json });
  if (command.paged === true && !args.no_pager && !args.json) startPaging();
  return command.run(args);
}

async function printUsage(toStdout: boolean): Promise<void> {
  const write = toStdout ? print : printError;
  write(
    "usage: guestscope COMMAND [OPTION...] INPUT...\n\nReads, verifies, converts and opens the saved state of virtual machines.\n",
  );
  const width = Object.keys(COMMANDS).reduce((most, name) => Math.max(most, name.length), 0) + 2;
  for (const load of Object.values(COMMANDS)) {
    const command = await load();
    write(`  ${command.name.padEnd(width)}${command.summary}`);
  }
  write("\n'guestscope help COMMAND' says more, with examples.");
}

/** Runs the program by the process's arguments, and sets its exit status. */
export const run = (): Promise<void> => runProgram(() => main(process.argv.slice(2)));
