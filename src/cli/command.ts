import { ArgumentParser, type Namespace, RawDescriptionHelpFormatter } from "argparse";
import { installNodeCodecs } from "../io/node/codecs.js";
import { installNodeSpill } from "../io/node/spill-file.js";
import { GuestscopeError, UsageError } from "../findings/errors.js";
import { errorDocument, EXIT, failureText, statusOf } from "./failure.js";
import { didYouMean } from "./suggest.js";
import { finishPaging, lacksDocument, printError, printJson } from "./terminal.js";

export { EXIT };

/** One subcommand of `guestscope`. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Shown below the options by `--help`. */
  readonly examples: readonly string[];
  /** Its text may be long: shown by the pager on a terminal. */
  readonly paged?: boolean;
  configure(parser: ArgumentParser): void;
  /** Returns the exit status. Errors of the library may be thrown: they are printed, status 1 or 2. */
  run(args: Namespace): Promise<number>;
}

/** Options that every command has. */
export interface CommonArguments {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly no_pager: boolean;
}

/** Parses a command's arguments; what is wrong with them is thrown, not printed. */
class CommandParser extends ArgumentParser {
  override error(message: string): never {
    throw new UsageError(`${message}${this.#suggestion(message)} ('${this.prog} --help' shows the usage)`);
  }

  #suggestion(message: string): string {
    const [, unknown] = /^unrecognized arguments: (--[^\s=]+)/.exec(message) ?? [];
    if (unknown !== undefined) return didYouMean(unknown, this.optionNames());
    const [, choice, known = ""] = /invalid choice: '([^']*)' \(choose from (.*)\)$/.exec(message) ?? [];
    if (choice === undefined) return "";
    return didYouMean(
      choice,
      known.split(", ").map((name) => name.replaceAll("'", "")),
    );
  }

  /** Long names of all options. */
  optionNames(): string[] {
    return declaredOptions(this).flatMap(({ names }) => names.filter((name) => name.startsWith("--")));
  }
}

/** An option as a parser declares it. */
export interface DeclaredOption {
  /** `-q`, `--quiet`; empty for a positional argument. */
  readonly names: readonly string[];
  readonly help: string;
  /** Placeholder of its value; undefined for a switch. */
  readonly metavar: string | undefined;
  readonly choices: readonly string[] | undefined;
}

/** The part of a parser that declares options, which its types leave out. */
interface ParserActions {
  readonly _actions: readonly {
    readonly option_strings: readonly string[];
    readonly help?: string;
    readonly metavar?: string;
    readonly dest: string;
    readonly nargs?: number | string;
    readonly choices?: readonly string[];
  }[];
}

/** Everything that a parser declares, in order: for completion and manual pages. */
export function declaredOptions(parser: ArgumentParser): readonly DeclaredOption[] {
  return (parser as unknown as ParserActions)._actions.map((action) => ({
    names: action.option_strings,
    help: (action.help ?? "").replaceAll("%%", "%"),
    metavar: action.nargs === 0 ? undefined : (action.metavar ?? action.choices?.join("|") ?? action.dest),
    choices: action.choices,
  }));
}

/** A parser with the options that every command has. */
export function createParser(command: Command, version: string): ArgumentParser {
  const parser = new CommandParser({
    prog: `guestscope ${command.name}`,
    description: command.summary,
    epilog: `examples:\n${command.examples.map((line) => `  ${line}`).join("\n")}`,
    formatter_class: RawDescriptionHelpFormatter,
  });
  parser.add_argument("--json", { action: "store_true", help: "one JSON document on standard output" });
  parser.add_argument("-q", "--quiet", { action: "store_true", help: "print nothing but errors" });
  parser.add_argument("-v", "--verbose", { action: "store_true", help: "print more" });
  parser.add_argument("--no-pager", { action: "store_true", help: "never show long text with $PAGER" });
  parser.add_argument("--version", {
    action: "version",
    version: `guestscope ${version}`,
    help: "print the version (with --verbose: of all parts) and exit",
  });
  command.configure(parser);
  return parser;
}

/** Runs a program's body: prints what it throws, as the JSON document that is owed too, and sets the exit status. */
export async function runProgram(body: () => Promise<number>): Promise<void> {
  installNodeCodecs();
  installNodeSpill();
  process.stdout.on("error", onStreamError);
  process.stderr.on("error", onStreamError);
  process.exitCode = await body().catch((error: unknown) => {
    const status = statusOf(error);
    // nobody is there to be told
    if (status === EXIT.readerGone) return status;
    if (lacksDocument()) printJson(errorDocument(error));
    finishPaging();
    printError(failureText(error));
    return status;
  });
  finishPaging();
}

/**
 * Runs a command whose status 1 is an answer, as grep's "not found" and diff's "different" are: what fails is
 * EXIT.failure, of whatever kind it is.
 */
export async function runAnswering(body: () => Promise<number>): Promise<number> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof GuestscopeError) || statusOf(error) === EXIT.readerGone) throw error;
    if (lacksDocument()) printJson(errorDocument(error, EXIT.failure));
    printError(failureText(error));
    return EXIT.failure;
  }
}

/** The reader of our output went away (`| head`): stop quietly. */
function onStreamError(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(EXIT.readerGone);
}
